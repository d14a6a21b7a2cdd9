package rootfs

import (
	"bytes"
	"path"
	"regexp"
	"strings"
)

// etcAllowed are the names in /etc that are copied, with a path where only a
// part of a directory is. It is an allow list because /etc of a real machine
// is full of secrets that are readable by everyone: proxies with passwords,
// tokens in environment files, cluster configurations. On top of it every file
// is filtered, see [copier]. Not here on purpose: environment, profile.d in
// full, gitconfig, npmrc, pip.conf, default/*, systemd, cron.
func etcAllowed() []string {
	return strings.Fields(`
adduser.conf deluser.conf login.defs debconf.conf ucf.conf debian_version
alpine-release arch-release fedora-release redhat-release centos-release rocky-release almalinux-release system-release
lsb-release os-release issue issue.net
alternatives apt dpkg dnf yum.conf yum.repos.d pacman.conf pacman.d/mirrorlist apk zypp/repos.d
bash.bashrc bashrc bash_completion.d csh.cshrc csh.login profile inputrc shells zsh zshrc zprofile zshenv terminfo
profile.d/bash_completion.sh profile.d/debuginfod.sh profile.d/lang.sh profile.d/gawk.sh profile.d/less.sh
profile.d/colorls.sh profile.d/which2.sh profile.d/perl-bin.sh profile.d/perlbin.sh profile.d/locale.sh
ca-certificates ca-certificates.conf crypto-policies ssl/certs ssl/openssl.cnf ssl/cert.pem ssl/ct_log_list.cnf
pki/ca-trust pki/tls/certs pki/tls/cert.pem pki/tls/openssl.cnf pki/tls/ct_log_list.cnf pki/rpm-gpg pki/java pki/nssdb
default/locale default/useradd
ld.so.cache ld.so.conf ld.so.conf.d libnl-3 localtime timezone locale.alias locale.conf locale.gen
pam.conf pam.d security/access.conf security/faillock.conf security/group.conf security/limits.conf security/limits.d
security/namespace.conf security/pam_env.conf security/pwquality.conf security/time.conf security/sepermit.conf
sudo.conf host.conf gai.conf networks protocols services rpc ethertypes netconfig bindresvport.blacklist
iproute2 mke2fs.conf e2scrub.conf xattr.conf libaudit.conf
magic magic.mime mime.types mailcap mailcap.order manpath.config man_db.conf groff papersize nanorc vim vimrc wgetrc
screenrc tmux.conf emacs ctags.d debuginfod gdb gprofng.rc
fonts X11/rgb.txt glvnd vulkan OpenCL ImageMagick-6 ImageMagick-7 sgml xml texmf
java java-8-openjdk java-11-openjdk java-17-openjdk java-21-openjdk java-25-openjdk jvm .java maven
python3 python3.9 python3.10 python3.11 python3.12 python3.13 python3.14 perl ruby lua R julia dotnet php ghc erlang
postgresql-common
`)
}

// etcDenied names what is left out below an allowed directory; a pattern with
// a slash matches from /etc, one without at any depth ([path.Match]).
func etcDenied() []string {
	return strings.Fields(`
apt/auth.conf apt/auth.conf.d maven/settings*.xml php/*/fpm php/*/apache2
private *.key *-key.pem *.p12 *.pfx *.jks *.keytab *.kdbx .netrc .git .svn .env *.bak *~ *-
`)
}

// etcDenies tells whether rel, a path below /etc, is left out.
func etcDenies(rel string) bool {
	for _, p := range etcDenied() {
		name := path.Base(rel)
		if strings.Contains(p, "/") {
			name = rel
		}
		// The patterns are constant and well-formed; a test says so.
		if ok, err := path.Match(p, name); err == nil && ok {
			return true
		}
	}
	return false
}

// secretPattern is text that no configuration for everyone should hold: a URL
// with a user in it, a private key, an assigned token (outside of comments,
// where examples live).
const secretPattern = `[A-Za-z][A-Za-z0-9+.-]*://[^/\s@"'<>]+@|-----BEGIN [A-Z0-9 ]*PRIVATE KEY|` +
	`(?im:^[^#;\n]*(?:_authToken|aws_secret_access_key|password|passphrase|secret|api_?key|access_?token)[ \t]*=[ \t]*["']?[A-Za-z0-9])`

// secrets finds files that are left out for what is in them.
type secrets struct{ pattern *regexp.Regexp }

// findSecrets compiles the pattern: for each building of a skeleton, so that
// other runs of the program do not pay for it.
func findSecrets() *secrets { return &secrets{regexp.MustCompile(secretPattern)} }

// in tells whether a file is left out for what is in it. The examples
// that OpenSSL ships in its configuration are none.
func (s *secrets) in(content []byte) bool {
	for _, example := range []string{"secret = pass:insta", "challengePassword"} {
		content = bytes.ReplaceAll(content, []byte(example), nil)
	}
	return s.pattern.Match(content)
}

// linkAllowed tells whether a symbolic link at rel (below the root, no leading
// slash) may be copied: it must end where a sandbox has something to see. A
// link leads nowhere on the host in any case, for it is resolved inside; but
// it would tell of what the host has.
func linkAllowed(rel, target string) bool {
	if target == "" || len(target) > 4000 {
		return false
	}
	if !strings.HasPrefix(target, "/") {
		target = path.Join("/", path.Dir(rel), target)
	}
	target = path.Clean(target)
	if target == "/dev/null" || target == "/proc/mounts" || target == "/proc/self/mounts" {
		return true
	}
	for _, top := range []string{"/usr/", "/etc/", "/bin/", "/sbin/", "/lib/", "/lib32/", "/lib64/", "/libx32/", "/var/lib/dpkg/", "/var/lib/rpm/"} {
		if strings.HasPrefix(target, top) {
			return true
		}
	}
	return false
}
