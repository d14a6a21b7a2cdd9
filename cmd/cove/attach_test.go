package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"cove/tui/tuitest"
)

// terminal runs cove on a real terminal of the given size.
func (h *host) terminal(cols, rows int, args ...string) *terminal {
	h.t.Helper()
	cmd := h.command(h.t.Context(), args...)
	tt := tuitest.Start(h.t, tuitest.Config{Cols: cols, Rows: rows, Env: h.env, Dir: filepath.Dir(h.run), Timeout: h.patience}, cmd.Path, cmd.Args[1:]...)
	return &terminal{Terminal: tt, t: h.t}
}

// detach leaves the session by ctrl+] and finds the terminal as it was.
func (t *terminal) detach() {
	t.t.Helper()
	t.Send("\x1d")
	if err := t.Exit(); err != nil {
		t.t.Errorf("attach ended with %v after ctrl+]", err)
	}
	for _, mode := range []int{1000, 1002, 1003, 1006, 1049, 2004} {
		if t.Mode(mode) {
			t.t.Errorf("mode %d is still on after ctrl+]", mode)
		}
	}
}

func TestFullScreenPrograms(t *testing.T) {
	h := realHost(t)
	h.must("create", "-p", "shell", "-n", "tty")
	h.must("exec", "tty", "--", "sh", "-c", "seq 1 500 > /tmp/numbers; printf 'needle in vim\n' > /tmp/text")
	for _, p := range []struct{ name, start, see, again, quit string }{
		{"less", "less /tmp/numbers", "/tmp/numbers", "29", "q"},
		{"vim", "vim.tiny -u NONE /tmp/text", "needle in vim", "needle in vim", "\x1b:q!\r"},
		{"htop", "htop", "Tasks", "Tasks", "q"},
	} {
		t.Run(p.name, func(t *testing.T) {
			h := h.in(t)
			session := []string{"--session", p.name}
			tt := h.attach("tty", 90, 24, session...)
			tt.Send("PS1='ready> '; marker=" + p.name + "; clear\r")
			tt.See("ready>")
			tt.Send(p.start + "\r")
			tt.See(p.see)
			if p.name == "less" {
				tt.See("23") // 23 lines of numbers and the prompt
			}
			tt.Resize(100, 40)
			if p.name == "less" {
				// It loses a signal that comes as it begins to wait for a key, and
				// looks again at the next one.
				tt.Send("g")
				tt.See("39")
			}
			if p.name == "htop" {
				tt.See("F10")
			}
			tt.detach()

			// A daemon killed in between makes no difference.
			h.kill()

			again := h.attach("tty", 80, 30, session...)
			again.See(p.again)
			again.Send(p.quit)
			again.See("ready>")
			again.Send("echo [$marker] $(stty size)\r")
			again.See(fmt.Sprintf("[%s] 30 80", p.name))
			again.detach()
		})
	}
}

func TestShellOutlivesDaemonAndClient(t *testing.T) {
	h := realHost(t)
	h.must("create", "-p", "shell", "-n", "sh")
	tt := h.attach("sh", 80, 24)
	tt.Send("V=kept-by-the-shell; cd /tmp; for i in 1 2 3; do echo line-$i; done\r")
	tt.See("line-3")
	tt.detach()

	again := h.attach("sh", 80, 24)
	again.See("line-3") // its last lines are shown again
	h.kill()
	if err := again.Exit(); err == nil {
		t.Error("attach succeeds although its daemon was killed")
	}
	if text := again.Screen().Text(); !strings.Contains(text, "daemon") {
		t.Errorf("the client says nothing of the daemon's end:\n%s", text)
	}

	third := h.attach("sh", 80, 24)
	third.Send("echo $V in $PWD\r")
	third.See("kept-by-the-shell in /tmp")
	third.Send("exit 3\r")
	_ = third.Exit()
	fourth := h.attach("sh", 80, 24)
	fourth.Send("echo [$V]\r")
	fourth.See("[]") // a new shell
	fourth.detach()
}

// TestTUI is the README's first minute, by the real program on a terminal.
func TestTUI(t *testing.T) {
	h := realHost(t)
	h.must("daemon", "start")
	tt := h.terminal(100, 30)
	tt.See("first sandbox")
	tt.Send("n")
	tt.See("New sandbox")
	tt.Send("\r")
	tt.See("started")
	tt.Send("\r")
	tt.See("$ ")
	tt.Send("echo $((6*7))\r")
	tt.See("42")
	tt.Send("\x1d")
	tt.See("started")
	name := h.list()[0].Name
	tt.See(name)
	tt.Send("s")
	tt.See("stopped")
	tt.Send("s")
	tt.See("started")
	tt.Send("D")
	tt.See("Cancel")
	tt.Send("\x1b")
	tt.Gone("Cancel")
	tt.Send("?")
	tt.See("ctrl+]")
	tt.Send("\x1b")
	tt.Gone("ctrl+]")
	tt.Send("q")
	if err := tt.Exit(); err != nil {
		t.Errorf("q: %v", err)
	}
	if len(h.list()) != 1 {
		t.Error("quitting touched the sandbox")
	}
}
