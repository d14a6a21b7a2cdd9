package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cove/runtime/api"
	"cove/runtime/lifecycle"
)

func TestTwoDaemons(t *testing.T) {
	a, b := realHost(t), realHost(t)
	for i, h := range []*host{a, b} {
		h.must("create", "-p", "shell", "-n", "same")
		h.must("exec", "same", "--", "sh", "-c", fmt.Sprintf("echo %d > ~/who", i))
	}
	if x, y := a.inspect("same"), b.inspect("same"); x.Running.UIDBase == y.Running.UIDBase {
		t.Errorf("both use the uids from %d", x.Running.UIDBase)
	}
	a.kill()
	a.must("daemon", "start")
	for i, h := range []*host{a, b} {
		if got := h.must("exec", "same", "--", "cat", "/home/dev/who"); got != fmt.Sprintf("%d\n", i) {
			t.Errorf("sandbox %d says %q", i, got)
		}
		if n := len(h.list()); n != 1 {
			t.Errorf("daemon %d has %d sandboxes", i, n)
		}
	}
	b.kill()
	if got := a.must("exec", "same", "--", "cat", "/home/dev/who"); got != "0\n" {
		t.Errorf("after the other's end: %q", got)
	}
	if s := stateOf(b, "same"); s != lifecycle.Started {
		t.Errorf("the killed daemon's sandbox is %s", s)
	}
}

// A second daemon on one state directory is refused, and says why.
func TestOneDaemonPerStateDirectory(t *testing.T) {
	h := realHost(t)
	h.must("daemon", "start")
	pid := h.pid()
	h.refuse(1, []string{fmt.Sprint(pid)}, "daemon", "run")
	h.must("daemon", "start") // already there: nothing to do
	if h.pid() != pid {
		t.Error("daemon start replaced a living daemon")
	}
}

func TestCallers(t *testing.T) {
	h := realHost(t)
	// The members of the group are those of this machine's user database:
	// the daemon under test gets one of its own, in its own mount namespace.
	dir := filepath.Dir(h.run)
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	passwd := write("passwd", "root:x:0:0::/root:/bin/sh\nann:x:1001:1001::/:/bin/sh\nbob:x:1002:1002::/:/bin/sh\neve:x:1003:1003::/:/bin/sh\n")
	group := write("group", "root:x:0:\ncove:x:990:ann,bob\nann:x:1001:\nbob:x:1002:\neve:x:1003:\n")
	h.startBehind(map[string]string{passwd: "/etc/passwd", group: "/etc/group"})

	env := append(slices.Clone(h.env), "HOME=/")
	cove := func(uid uint32, args ...string) (string, error) {
		return asUID(uid, env, filepath.Join(h.bin, "cove"), args...)
	}
	if out, err := cove(1001, "create", "-p", "shell", "-n", "anns"); err != nil {
		t.Fatalf("a member cannot create: %s", out)
	}
	if out, err := cove(1003, "ls"); err == nil || !strings.Contains(out, "group") {
		t.Errorf("the outsider is told %q, %v", out, err)
	}
	if out, err := cove(1002, "ls", "--json"); err != nil || strings.TrimSpace(out) != "[]" {
		t.Errorf("the other member sees %q, %v", out, err)
	}
	id := h.inspect("anns").ID
	for _, ref := range []string{"anns", id, id[:6]} {
		for _, c := range []struct{ method, path string }{
			{"GET", ""}, {"DELETE", ""}, {"POST", "/start"}, {"POST", "/stop"}, {"POST", "/restart"},
			{"POST", "/exec"}, {"POST", "/attach"}, {"GET", "/sessions"},
		} {
			for uid, want := range map[uint32]int{1002: http.StatusNotFound, 1003: http.StatusForbidden} {
				got, body := request(t, h, uid, c.method, "/v1/sandboxes/"+ref+c.path, `{"argv":["true"],"cols":80,"rows":24}`)
				if c.path != "/exec" && c.path != "/attach" {
					got, body = request(t, h, uid, c.method, "/v1/sandboxes/"+ref+c.path, "")
				}
				if got != want {
					t.Errorf("uid %d: %s %s%s: %d, want %d: %s", uid, c.method, ref, c.path, got, want, body)
				}
				_, missing := request(t, h, uid, c.method, "/v1/sandboxes/nothing"+c.path, `{"argv":["true"],"cols":80,"rows":24}`)
				if uid == 1002 && (c.path == "/exec" || c.path == "/attach") && strings.ReplaceAll(missing, "nothing", ref) != body {
					t.Errorf("%s%s: a foreign sandbox %q differs from a missing one %q", ref, c.path, body, missing)
				}
			}
		}
	}
	for _, path := range []string{"/v1/version", "/v1/sandboxes", "/v1/events", "/v1/nothing", "/"} {
		if got, body := request(t, h, 1003, "GET", path, ""); got != http.StatusForbidden {
			t.Errorf("the outsider gets %d on %s: %s", got, path, body)
		}
	}
	if got, body := request(t, h, 1002, "GET", "/v1/events?follow=0", ""); got != http.StatusOK || strings.Contains(body, id) {
		t.Errorf("a foreign sandbox shows in the events: %d %s", got, body)
	}
	if got, _ := request(t, h, 1001, "GET", "/v1/sandboxes/anns", ""); got != http.StatusOK {
		t.Errorf("the owner gets %d", got)
	}
	// Out of the group: refused at once, without a new login.
	write("group", "root:x:0:\ncove:x:990:bob\nann:x:1001:\nbob:x:1002:\neve:x:1003:\n")
	if got, _ := request(t, h, 1001, "GET", "/v1/sandboxes", ""); got != http.StatusForbidden {
		t.Errorf("one who left the group gets %d", got)
	}
	if s := stateOf(h, "anns"); s != lifecycle.Started {
		t.Errorf("after all that it is %s", s)
	}
}

// request speaks HTTP to the daemon as uid. The connection is made by a child
// with that uid and handed back, so that its credentials are the real ones.
func request(t *testing.T, h *host, uid uint32, method, path, body string) (int, string) {
	t.Helper()
	env := append(slices.Clone(h.env), "COVE_TEST_REQUEST="+method+" "+path, "COVE_TEST_BODY="+body)
	out, err := asUID(uid, env, h.publicTestBinary(), "-test.run", "^TestRequestChild$")
	if err != nil {
		t.Fatalf("request as %d: %v\n%s", uid, err, out)
	}
	var reply struct {
		Status int
		Body   string
	}
	line, _, _ := strings.Cut(out, "\n")
	if err := json.Unmarshal([]byte(line), &reply); err != nil {
		t.Fatalf("request as %d: %v\n%s", uid, err, out)
	}
	return reply.Status, reply.Body
}

// publicTestBinary is this test's program where every user can run it.
func (h *host) publicTestBinary() string {
	h.t.Helper()
	to := filepath.Join(filepath.Dir(h.run), "child.test")
	if _, err := os.Stat(to); err == nil {
		return to
	}
	exe, err := os.Executable()
	if err != nil {
		h.t.Fatal(err)
	}
	data, err := os.ReadFile(exe)
	if err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(to, data, 0o755); err != nil {
		h.t.Fatal(err)
	}
	return to
}

// TestRequestChild is no test: it is the child of request.
func TestRequestChild(t *testing.T) {
	what := os.Getenv("COVE_TEST_REQUEST")
	if what == "" {
		t.Skip("a helper of TestCallers")
	}
	method, path, _ := strings.Cut(what, " ")
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", filepath.Join(os.Getenv("COVE_RUN_DIR"), "cove.sock"))
	}}}
	req, err := http.NewRequestWithContext(t.Context(), method, "http://cove"+path, strings.NewReader(os.Getenv("COVE_TEST_BODY")))
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(path, "/exec") || strings.HasSuffix(path, "/attach") {
		req.Header.Set("Connection", "Upgrade")
		req.Header.Set("Upgrade", api.StreamProtocol)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	buf := make([]byte, 64<<10)
	n, _ := resp.Body.Read(buf)
	out, err := json.Marshal(struct {
		Status int
		Body   string
	}{resp.StatusCode, string(buf[:n])})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println(string(out))
}

// startBehind starts the daemon in a mount namespace in which files of the
// host are covered by the test's.
func (h *host) startBehind(covers map[string]string) {
	h.t.Helper()
	var script strings.Builder
	for from, to := range covers {
		fmt.Fprintf(&script, "mount --bind %s %s && ", from, to)
	}
	script.WriteString("exec " + filepath.Join(h.bin, "cove") + " daemon start")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	cmd := h.program(ctx, "/bin/sh", "-c", script.String())
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if out, err := cmd.CombinedOutput(); err != nil {
		h.t.Fatalf("start the daemon behind covers: %v\n%s", err, out)
	}
}

// What the kernel counts for a user is counted for the sandbox's own: one that
// uses all of it up takes nothing from root and from other sandboxes.
func TestKernelLimitsAreOnesOwn(t *testing.T) {
	h := realHost(t)
	h.must("create", "-p", "shell", "-n", "greedy")
	h.must("create", "-p", "shell", "-n", "other")
	const instances = `import ctypes
libc, n = ctypes.CDLL(None), 0
while n < 1000 and libc.inotify_init1(0) >= 0: n += 1
print(n, flush=True)
input()`
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := h.command(ctx, "exec", "-i", "greedy", "--", "python3", "-c", instances)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var used int
	if _, err := fmt.Fscan(stdout, &used); err != nil || used == 0 {
		t.Fatalf("it used %d instances, %v", used, err)
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if err != nil {
		t.Errorf("root has no inotify instance left after a sandbox used %d: %v", used, err)
	} else {
		_ = unix.Close(fd)
	}
	out, _, _ := h.coveIn([]byte("\n"), "exec", "-i", "other", "--", "python3", "-c", instances)
	if out != fmt.Sprintf("%d\n", used) {
		t.Errorf("another sandbox gets %q instances, the first got %d", out, used)
	}
	_ = stdin.Close()
	_ = cmd.Wait()
}
