package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cove/config"
)

// sh runs a script in a sandbox and returns what it printed to both, without the
// line's end.
func (h *host) sh(name, script string, flags ...string) string {
	h.t.Helper()
	args := append(append([]string{"exec", name}, flags...), "--", "sh", "-c", "exec 2>&1\n"+script)
	out, stderr, _ := h.cove(args...)
	return strings.TrimSuffix(out+stderr, "\n")
}

// need skips where this machine lacks a program that sandboxes would have of it.
func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := os.Stat(p); err != nil {
			t.Skipf("this machine has no %s", p)
		}
	}
}

func TestUsers(t *testing.T) {
	need(t, "/usr/bin/sudo", "/usr/bin/su", "/usr/bin/setpriv", "/usr/sbin/useradd")
	h := realHost(t)
	h.must("create", "-p", "shell", "-n", "u")
	begin := time.Now()
	for script, want := range map[string]string{
		"sudo -n id -u":               "0",
		"sudo -n sh -c 'echo $HOME'":  "/root",
		"sudo -n su dev -c 'id -un'":  "dev",
		"id":                          "uid=1000(dev) gid=1000(dev) groups=1000(dev)",
		"cd; pwd; echo $HOME":         "/home/dev\n/home/dev",
		"echo $USER $LOGNAME $MAIL":   "dev dev /var/mail/dev",
		"echo $SHELL $LANG [$LC_ALL]": "/bin/bash C.UTF-8 []",
		"printf 'ü' | wc -m":          "1",
		"umask":                       "0022",
		// A name that cannot be resolved would cost sudo seconds.
		"getent hosts $(hostname)": "127.0.1.1       u",
		"sudo -n useradd -m bob && sudo -n groupadd crew && sudo -n usermod -aG crew bob && sudo -n su - bob -c 'id -Gn; pwd'":        "bob crew\n/home/bob",
		"touch /tmp/f && sudo -n chown 65535:65535 /tmp/f && stat -c %u:%g /tmp/f && sudo -n chown 12345 /tmp/f && stat -c %u /tmp/f": "65535:65535\n12345",
		"sudo -n chown 65536 /tmp/f 2>/dev/null || echo no":                                                                           "no",
		"sudo -n setpriv --reuid 4321 --regid 4321 --clear-groups id -u":                                                              "4321",
		"su -c id </dev/null >/dev/null 2>&1 || echo no":                                                                              "no", // no password opens root
		"cp /usr/bin/id /tmp/rootid; sudo -n chown root /tmp/rootid; sudo -n chmod u+s /tmp/rootid; /tmp/rootid -u":                   "0",
	} {
		if got := h.sh("u", script); got != want {
			t.Errorf("%s\ngives %q, want %q", script, got, want)
		}
	}
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("it took %v: something waits", took)
	}
	if got := h.sh("u", "echo $HOME $USER $LOGNAME $MAIL $SHELL $LANG", "-u", "root"); got != "/root root root /var/mail/root /bin/bash C.UTF-8" {
		t.Errorf("as root: %q", got)
	}
	if got := h.sh("u", "id -un; id -gn; echo $HOME", "-u", "nobody"); got != "nobody\nnogroup\n/nonexistent" && got != "nobody\nnobody\n/nonexistent" {
		t.Errorf("as nobody: %q", got)
	}
	h.must("create", "-p", "shell", "-n", "locale", "-e", "LANG=C", "-e", "MAIL=/m")
	if got := h.sh("locale", "echo $LANG $MAIL"); got != "C /m" {
		t.Errorf("what the sandbox says goes first: %q", got)
	}
	// Its name stays resolvable when it changes, which inside it does at a start.
	h.must("rename", "u", "renamed")
	for _, want := range []string{"u\n0", "renamed\n0"} {
		begin := time.Now()
		if got := h.sh("renamed", "hostname; sudo -n id -u"); got != want {
			t.Errorf("after a rename: %q, want %q", got, want)
		}
		if took := time.Since(begin); took > 3*time.Second {
			t.Errorf("sudo took %v", took)
		}
		h.must("restart", "renamed")
	}
	h.must("create", "-p", "untrusted", "-n", "no")
	if got := h.sh("no", "sudo -n true; echo $?; /bin/su -c id </dev/null; echo $?"); !strings.Contains(got, "no new privileges") || strings.Contains(got, "\n0") {
		t.Errorf("untrusted: %q", got)
	}
}

// What package managers do in a sandbox stays in it.
func TestPackages(t *testing.T) {
	need(t, "/usr/bin/dpkg-deb", "/usr/bin/apt-get", "/usr/bin/sudo", "/usr/sbin/adduser", "/usr/bin/python3")
	h := realHost(t)
	h.must("create", "-p", "shell", "-n", "p")
	got := h.sh("p", `set -e
mkdir -p /tmp/d/DEBIAN /tmp/d/usr/bin /tmp/d/etc
printf 'Package: covetest\nVersion: 1\nArchitecture: all\nMaintainer: x <x@example.org>\nDescription: x\n' >/tmp/d/DEBIAN/control
printf '#!/bin/sh\nset -e\nadduser --system --group --no-create-home --quiet coved\nmkdir -p /var/lib/coved\nchown coved:coved /var/lib/coved\n' >/tmp/d/DEBIAN/postinst
printf '#!/bin/sh\necho covetest runs\n' >/tmp/d/usr/bin/covetest
echo /etc/covetest >/tmp/d/DEBIAN/conffiles; echo x >/tmp/d/etc/covetest
chmod 755 /tmp/d/DEBIAN/postinst /tmp/d/usr/bin/covetest
dpkg-deb --root-owner-group -b /tmp/d /tmp/covetest.deb >/dev/null
sudo -n dpkg -i /tmp/covetest.deb >/dev/null
covetest
stat -c %U /var/lib/coved
sudo -n apt-get -qq -y remove covetest >/dev/null
test -e /usr/bin/covetest || echo removed
sudo -n apt-get -qq -y install /tmp/covetest.deb >/dev/null 2>&1
covetest
sudo -n apt-get -qq check && echo consistent`)
	if want := "covetest runs\ncoved\nremoved\ncovetest runs\nconsistent"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	// From a repository over HTTP, which apt fetches as its own user.
	got = h.sh("p", `set -e
sudo -n apt-get -qq -y purge covetest >/dev/null
mkdir /tmp/repo && mv /tmp/covetest.deb /tmp/repo/ && cd /tmp/repo
{ dpkg-deb -f covetest.deb; echo "Filename: ./covetest.deb"; echo "Size: $(stat -c %s covetest.deb)"; echo "SHA256: $(sha256sum covetest.deb | cut -d' ' -f1)"; } >Packages
python3 -m http.server --bind 127.0.0.1 8000 >/tmp/served 2>&1 & server=$!
for i in $(seq 100); do python3 -c 'import socket; socket.create_connection(("127.0.0.1", 8000))' 2>/dev/null && break; done
echo 'deb [trusted=yes] http://127.0.0.1:8000 ./' >/tmp/list
only='-o Dir::Etc::SourceList=/tmp/list -o Dir::Etc::SourceParts=/dev/null'
sudo -n apt-get -qq $only update
sudo -n apt-get -qq -y $only install covetest >/dev/null 2>&1
kill $server
covetest
grep -c 'GET /./covetest.deb.* 200' /tmp/served`, "-e", "PATH=/usr/bin:/usr/sbin:/bin:/sbin")
	if want := "covetest runs\n1"; got != want {
		t.Errorf("over HTTP: got %q, want %q", got, want)
	}
	h.must("restart", "p")
	if got := h.sh("p", "covetest; dpkg-query -W covetest"); got != "covetest runs\ncovetest\t1" {
		t.Errorf("after a restart: %q", got)
	}
	if err := exec.Command("dpkg-query", "-W", "covetest").Run(); err == nil {
		t.Error("the host has the package too")
	}
}

// git commit works as the caller, and everything that says otherwise goes first.
func TestGitIdentity(t *testing.T) {
	need(t, "/usr/bin/git")
	h := realHost(t)
	home := filepath.Dir(h.run)
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(home, ".gitconfig"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("[user]\n\tname = Ann \"A.\" \\\"B\\\" Lee\n\temail = ann@example.org\n[credential]\n\thelper = store\n[core]\n\tsshCommand = secret-command\n")
	const commit = "cd $(mktemp -d) && git init -q . && BEFORE git commit -q --allow-empty -m x && git log -1 --format='%an <%ae>'"
	by := func(name, before string, flags ...string) string {
		t.Helper()
		return h.sh(name, strings.Replace(commit, "BEFORE", before, 1), flags...)
	}
	h.must("create", "-p", "shell", "-n", "g")
	const me = `Ann A. "B" Lee <ann@example.org>`
	if got := by("g", ""); got != me {
		t.Errorf("as dev: %q", got)
	}
	if got := by("g", "", "-u", "root"); got != me {
		t.Errorf("as root: %q", got)
	}
	if got := by("g", "git config user.email repo@example.org &&"); got != `Ann A. "B" Lee <repo@example.org>` {
		t.Errorf("over a repository's own: %q", got)
	}
	if got := h.sh("g", "git config --system --list --name-only | sort | tr '\\n' ' '; sudo -n cat /etc/gitconfig | grep -ci 'credential\\|secret'"); got != "user.email user.name 0" {
		t.Errorf("what came along: %q", got)
	}
	if got := by("g", "git config --global user.name Other &&"); got != "Other <ann@example.org>" {
		t.Errorf("over the user's own inside: %q", got)
	}
	write("[user]\n\tname = Somebody Else\n")
	h.must("restart", "g")
	if got := by("g", ""); got != "Other <ann@example.org>" {
		t.Errorf("after a restart: %q", got)
	}

	// What a directory says, and what a profile says, and nobody.
	if out, err := exec.Command("git", "init", "-q", home).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if out, err := exec.Command("git", "-C", home, "config", "user.email", "dir@example.org").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	h.must("create", "-p", "shell", "-n", "dir")
	if got := by("dir", ""); got != "Somebody Else <dir@example.org>" {
		t.Errorf("of the directory: %q", got)
	}
	bot := h.profile("bot", "extends = \"shell\"\ngit = { name = \"Bot\" }\n")
	h.must("create", "-p", bot, "-n", "bot")
	if got := by("bot", ""); got != "Bot <dir@example.org>" {
		t.Errorf("of the profile: %q", got)
	}
	off := h.profile("off", "extends = \"shell\"\n[git]\nidentity = false\n")
	for name, p := range map[string]string{"off": off, "no": "untrusted"} {
		h.must("create", "-p", p, "-n", name)
		if got := by(name, ""); !strings.Contains(got, "Please tell me who you are") || h.inspect(name).Spec.Git != (config.Git{}) {
			t.Errorf("with identity = false: %q", got)
		}
	}
}
