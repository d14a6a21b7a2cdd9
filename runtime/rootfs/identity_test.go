package rootfs

import (
	"path"
	"regexp"
	"strings"
	"testing"
)

func file(t testing.TB, in identity, name string) string {
	t.Helper()
	for _, f := range in.files() {
		if f.path == name {
			return f.content
		}
	}
	return ""
}

func TestIdentityFiles(t *testing.T) {
	in := identity{
		shell: "/bin/bash", sudo: true,
		passwd: []byte("root:$6$hash:0:0:The Boss:/root:/bin/zsh\n" +
			"www-data:x:33:33:www of Ada:/var/www:/usr/sbin/nologin\n" +
			"daemon:x:1:1::/usr/sbin:/usr/sbin/nologin\n" +
			"postgres:x:115:120:DB:/home/postgres:/bin/bash\n" +
			"toor:x:0:0::/root:/bin/sh\n" + // a second root
			"dev:x:998:998::/:/bin/sh\n" + // our name
			"twice:x:33:33::/:/bin/sh\n" + // a taken number
			"odd:x:200:1000::/:/bin/sh\n" + // a person's group
			"ada:x:1000:1000:Ada:/home/ada:/bin/bash\n" +
			"nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n" +
			"short:x:1\nbad name:x:300:300::/:/bin/sh\n+nis::301:301::/:\nneg:x:-5:1::/:\n"),
		group: []byte("root:x:0:ada\nshadow:x:42:\nsudo:x:27:ada,bob\nada:x:1000:\nnogroup:x:65534:\nwheel:x:999\n"),
	}
	for name, want := range map[string]string{
		"etc/passwd": "root:x:0:0::/root:/bin/bash\n" +
			"daemon:x:1:1::/usr/sbin:/usr/sbin/nologin\n" +
			"www-data:x:33:33::/var/www:/usr/sbin/nologin\n" +
			"postgres:x:115:120::/nonexistent:/usr/sbin/nologin\n" +
			"dev:x:1000:1000::/home/dev:/bin/bash\n" +
			"nobody:x:65534:65534::/nonexistent:/usr/sbin/nologin\n",
		"etc/group":      "root:x:0:\nsudo:x:27:\nshadow:x:42:\ndev:x:1000:\nnogroup:x:65534:\n",
		"etc/machine-id": "",
		"etc/hostname":   "cove\n",
	} {
		if got := file(t, in, name); got != want {
			t.Errorf("%s:\n%s\nwant:\n%s", name, got, want)
		}
	}
	if s := file(t, in, "etc/shadow"); strings.Contains(s, "$") || strings.Count(s, ":*:") != 6 {
		t.Errorf("shadow:\n%s", s)
	}
	if s := file(t, in, "etc/sudoers"); !strings.Contains(s, "\ndev ALL=(ALL:ALL) NOPASSWD: ALL\n") {
		t.Errorf("sudoers:\n%s", s)
	}
	if in.groupID("shadow") != 42 || in.groupID("ada") != 0 {
		t.Error("group numbers")
	}
	in.sudo = false
	if file(t, in, "etc/sudoers") != "" {
		t.Error("sudoers without sudo")
	}
	if got := file(t, identity{shell: "/bin/sh", group: []byte("nobody:x:65534:\n")}, "etc/group"); got != "root:x:0:\ndev:x:1000:\nnobody:x:65534:\n" {
		t.Errorf("group on Fedora: %q", got)
	}
}

// Whatever the host's files hold, ours are well-formed and tell of no person.
func FuzzIdentity(f *testing.F) {
	f.Add([]byte("root:x:0:0:r:/root:/bin/sh\nbin:x:2:2:bin:/bin:/bin/false\n"), []byte("bin:x:2:ada\n"))
	f.Add([]byte("a:x:5:5:\x00:/usr/../home/x:/bin/sh\r\n"), []byte("nobody:::\n"))
	line := regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*:x:(0|[1-9][0-9]*):(0|[1-9][0-9]*)::/[A-Za-z0-9/._+-]*:/[a-z/]+$`)
	f.Fuzz(func(t *testing.T, passwd, group []byte) {
		in := identity{passwd: passwd, group: group, shell: "/bin/sh"}
		seen := map[string]bool{}
		for l := range strings.Lines(file(t, in, "etc/passwd")) {
			l = strings.TrimSuffix(l, "\n")
			name, rest, _ := strings.Cut(l, ":")
			if !line.MatchString(l) || seen[name] {
				t.Errorf("passwd line %q", l)
			}
			seen[name] = true
			if strings.HasPrefix(rest, "x:0:") && name != "root" {
				t.Errorf("another root: %q", l)
			}
			home := strings.Split(l, ":")[5]
			if name != devName && (strings.HasPrefix(path.Clean(home), "/home") || strings.Contains(home, "..")) {
				t.Errorf("a home: %q", l)
			}
		}
		if !seen["root"] || !seen[devName] || !seen["nobody"] {
			t.Error("an account is missing")
		}
		for l := range strings.Lines(file(t, in, "etc/group")) {
			if strings.Count(l, ":") != 3 || !strings.HasSuffix(l, ":\n") {
				t.Errorf("group line %q", l)
			}
		}
	})
}

func TestSystemHome(t *testing.T) {
	for in, want := range map[string]string{
		"/var/lib/x": "/var/lib/x", "/usr/sbin": "/usr/sbin", "/bin": "/bin", "/": "/nonexistent", "/home/x": "/nonexistent",
		"/root": "/nonexistent", "/usr/../home/x": "/nonexistent", "/variety": "/nonexistent", "/var/a b": "/nonexistent", "": "/nonexistent",
	} {
		if got := systemHome(in); got != want {
			t.Errorf("%q -> %q, want %q", in, got, want)
		}
	}
}

func TestEtcRules(t *testing.T) {
	for _, p := range etcDenied() {
		if _, err := path.Match(p, "x"); err != nil {
			t.Errorf("pattern %q: %v", p, err)
		}
	}
	for rel, want := range map[string]bool{
		"ssl/certs/a.pem": false, "ssl/private": true, "pki/tls/private": true, "apt/auth.conf": true, "apt/sources.list": false,
		"apt/auth.conf.d": true, "passwd-": true, "x/server.key": true, "php/8.2/fpm": true, "php/8.2/cli": false, "maven/settings.xml": true,
		"vim/vimrc~": true, "fonts/.git": true,
	} {
		if got := etcDenies(rel); got != want {
			t.Errorf("denies %q: %v", rel, got)
		}
	}
	for _, never := range []string{"shadow", "gshadow", "sudoers", "sudoers.d", "ssh", "machine-id", "hostname", "resolv.conf", "fstab", "crypttab", "docker", "kubernetes", "cni",
		"NetworkManager", "netplan", "wireguard", "krb5.conf", "krb5.keytab", "letsencrypt", "environment", "passwd", "group", "hosts", "nsswitch.conf", "gitconfig", "npmrc", "pip.conf", "ssl", "pki", "default", "profile.d", "security", "X11"} {
		for _, a := range etcAllowed() {
			if a == never {
				t.Errorf("%s is allowed whole", never)
			}
		}
	}
}

func TestHoldsSecret(t *testing.T) {
	for _, s := range []string{
		"proxy=http://ada:hunter2@proxy:3128", "deb https://token@deb.example.org/ stable main",
		"-----BEGIN RSA PRIVATE KEY-----\nx", "-----BEGIN PRIVATE KEY-----", "//registry.npmjs.org/:_authToken=abc",
		"aws_secret_access_key = AKIA", "[x]\npassword = hunter2", "  api_key='abc'",
	} {
		if !findSecrets().in([]byte(s)) {
			t.Errorf("%q passes", s)
		}
	}
	for _, s := range []string{
		"password requisite pam_unix.so", "passwd: files", "# https_proxy = http://proxy.example.com:18023/",
		"# input_password = secret", "secret = pass:insta # can be used", "secret = $insta::secret", "-----BEGIN CERTIFICATE-----", "deb https://deb.debian.org/debian stable main",
		"PASS_MAX_DAYS 99999", "contact: ada@example.org",
	} {
		if findSecrets().in([]byte(s)) {
			t.Errorf("%q is held for a secret", s)
		}
	}
}

func TestLinkAllowed(t *testing.T) {
	for _, tc := range []struct {
		rel, target string
		want        bool
	}{
		{"etc/alternatives/vi", "/usr/bin/vim", true}, {"etc/os-release", "../usr/lib/os-release", true},
		{"etc/localtime", "/usr/share/zoneinfo/UTC", true}, {"etc/systemd/x", "/dev/null", true},
		{"etc/x", "/root/.secret", false}, {"etc/x", "../root/x", false}, {"etc/x", "../../../../root/x", false},
		{"etc/x", "/usr/../home/ada", false}, {"etc/x", "/proc/1/root", false}, {"etc/x", "/run/secrets/x", false},
		{"etc/x", "/", false}, {"etc/x", "", false}, {"etc/x", "/work", false}, {"etc/ssl/a", "certs/b", true},
	} {
		if got := linkAllowed(tc.rel, tc.target); got != tc.want {
			t.Errorf("%s -> %s: %v", tc.rel, tc.target, got)
		}
	}
}
