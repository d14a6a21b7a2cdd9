package main

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cove/runtime/api"
	"cove/runtime/lifecycle"
)

// TestLogs looks at what programs and setup steps printed, in a sandbox that is
// started, stopped, and broken.
func TestLogs(t *testing.T) {
	h := realHost(t)
	dir := filepath.Join(filepath.Dir(h.run), "config", "cove", "profiles")
	lay(t, dir, map[string]string{
		"steps.toml":  "extends = \"shell\"\nsetup = [\"echo set-up\"]\n",
		"broken.toml": "extends = \"shell\"\nsetup = [\"echo before; exit 3\"]\n",
	})
	h.must("create", "-p", "steps", "-n", "a")
	h.cove("exec", "a", "--", "sh", "-c", "echo out; echo err >&2; printf 'bad\\033[31m\\033]52;c;eA==\\007\\ttab\\n'; exit 3")
	h.must("code", "a", "-l", "bash", "-e", "echo from-code")
	h.must("cp", filepath.Join(dir, "steps.toml"), "a:/tmp")
	texts := func(args ...string) string {
		t.Helper()
		var out []string
		for line := range strings.Lines(h.must(append([]string{"logs"}, args...)...)) {
			out = append(out, strings.TrimSpace(line[min(len(line), len("2006-01-02 15:04:05  ")):]))
		}
		return strings.Join(out, "|")
	}
	all := texts("a")
	for _, want := range []string{
		"setup      set-up", "exec-1   $ sh -c echo out", "exec-1     out|", "exec-1   ! err", "exec-1     bad    tab|", "exec-1   = status 3", "exec-2   $ bash /tmp/cove-code-", "exec-2     from-code",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("logs lack %q:\n%s", want, strings.ReplaceAll(all, "|", "\n"))
		}
	}
	if strings.Contains(all, "extends") || strings.Contains(all, "exec-3") || strings.ContainsRune(all, 0x1b) {
		t.Errorf("logs show a copy, or act on the terminal: %q", all)
	}
	if got := texts("a", "--lines", "2"); got != "exec-2     from-code|exec-2   = status 0" {
		t.Errorf("the last two: %q", got)
	}
	if got := texts("a", "-n", "0"); got != "" {
		t.Errorf("none: %q", got)
	}
	if got := texts("a", "--since", "1h"); got != all {
		t.Errorf("of the last hour: %q", got)
	}
	if got := h.must("logs", "a", "--json", "-n", "1"); !strings.Contains(got, `"stream":"end"`) || strings.Count(got, "\n") != 1 {
		t.Errorf("as JSON: %q", got)
	}

	// A daemon that was killed has lost nothing.
	h.kill()
	h.must("daemon", "start")
	if got := texts("a"); got != all {
		t.Errorf("after a killed daemon: %q", got)
	}

	// With -f what comes is seen as it comes, and the sandbox's stop ends it.
	cmd := h.command(t.Context(), "logs", "a", "-f", "--lines", "1")
	out, err := cmd.StdoutPipe()
	must(err)
	must(cmd.Start())
	r := bufio.NewReader(out)
	see := func(want string) {
		t.Helper()
		line, err := r.ReadString('\n')
		if err != nil || !strings.HasSuffix(line, want+"\n") {
			t.Fatalf("the log goes on with %q, %v; want %q", line, err, want)
		}
	}
	see("= status 0")
	h.must("exec", "a", "--", "echo", "fresh")
	see("$ echo fresh")
	see("  fresh")
	see("= status 0")
	h.must("stop", "a")
	if status := exitStatus(t, cmd.Wait()); status != 0 {
		t.Errorf("at the sandbox's end logs -f exits with %d", status)
	}

	stdout, stderr, code := h.cove("logs", "a")
	if code != 0 || !strings.Contains(stdout, "set-up") || strings.Contains(stdout, "exec-") || !strings.Contains(stderr, "a does not run (stopped): of what was printed in it, only that of its setup is kept") {
		t.Errorf("of a stopped one: %d %s%s", code, stdout, stderr)
	}
	h.cove("create", "-p", "broken", "-n", "b")
	if s := stateOf(h, "b"); s != lifecycle.Error {
		t.Fatalf("b is %s", s)
	}
	if stdout, _, code := h.cove("logs", "b"); code != 0 || !strings.Contains(stdout, "before") || !strings.Contains(stdout, "exit status 3") {
		t.Errorf("of a broken one: %d %s", code, stdout)
	}
	h.refuse(1, []string{"none"}, "logs", "none")
}

// TestLogsAreInNoFile: what a program prints may be secret, and is kept in memory.
func TestLogsAreInNoFile(t *testing.T) {
	h := realHost(t)
	h.must("create", "-p", "shell", "-n", "a")
	secret := "hush-" + strings.Repeat("0123456789abcdef", 4)
	h.coveIn([]byte(secret), "exec", "-i", "a", "--", "cat")
	if got := h.must("logs", "a"); !strings.Contains(got, secret) {
		t.Fatalf("logs lack it: %s", got)
	}
	for _, dir := range []string{h.state, h.run} {
		must(filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return nil
			}
			if text, err := os.ReadFile(path); err == nil && strings.Contains(string(text), secret) {
				t.Errorf("it is in %s", path)
			}
			return nil
		}))
	}
}

func TestLogPrinterKeepsTheLast(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "out"))
	must(err)
	l := &logPrinter{a: &app{stdout: f}, flags: logFlags{lines: 2}}
	for _, text := range []string{"a", "b", "c\rover\r", "d"} {
		must(l.take(api.LogLine{Stream: api.LogStdout, Source: "exec-1", Text: text}))
	}
	must(l.take(api.LogLine{Stream: api.LogPing}))
	must(l.take(api.LogLine{Stream: api.LogStderr, Source: "exec-1", Text: "new"}))
	text, err := os.ReadFile(f.Name())
	must(err)
	var got []string
	for line := range strings.Lines(string(text)) {
		got = append(got, strings.TrimSpace(line[len("2006-01-02 15:04:05"):]))
	}
	if want := "exec-1     over|exec-1     d|exec-1   ! new"; strings.Join(got, "|") != want {
		t.Errorf("got %q", got)
	}
}
