package tui

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"cove/tui/internal/require"
	"cove/tui/tuitest"
)

// These tests run the whole program on a real terminal.

func start(t *testing.T, kind string, cols, rows int, env ...string) *tuitest.Terminal {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	return tuitest.Start(t, tuitest.Config{Cols: cols, Rows: rows, Env: append(env, programEnv+"="+kind)}, exe)
}

// modes that must be off when the program is gone.
var modes = []int{1, 9, 1000, 1002, 1003, 1004, 1005, 1006, 1015, 1016, 1049, 2004, 2026, 2027, 2031, 2048}

// quit leaves the program and checks that nothing is left of it.
func quit(t *testing.T, tt *tuitest.Terminal) tuitest.Screen {
	t.Helper()
	tt.Send("q")
	require.NoError(t, tt.Exit())
	s := tt.Screen()
	require.Empty(t, tt.Modes(modes...))
	require.Equal(t, 0, tt.Keyboard())
	require.True(t, s.Cursor)
	require.False(t, s.Alt)
	return s
}

// selected waits until the row of the sandbox is the selected one.
func selected(tt *tuitest.Terminal, name string) {
	tt.Wait(name+" to be selected", func(s tuitest.Screen) bool { return s.Has("> " + name) })
}

func TestListAttachDetachQuit(t *testing.T) {
	tt := start(t, "list", 90, 24)
	s := tt.See("> fix-auth")
	for _, part := range []string{"7 sandboxes", "● started", "✗ error", "◐ stopping", "○ stopped", "PROFILE", "enter attach", "q quit"} {
		require.True(t, s.Has(part), "%q is not on\n%s", part, s.Text())
	}
	require.Equal(t, "cove", s.Title)
	require.True(t, tt.Mode(1002), "the mouse is not asked for")
	tt.Send("\r")
	s = tt.See("fix-auth-1$")
	require.Equal(t, "cove: fix-auth (ctrl+] detaches)", s.Title)
	require.False(t, s.Has("7 sandboxes"))
	tt.Send("hello\r")
	tt.See("[hello]")
	tt.Send("\x1d")
	s = tt.See("detached from fix-auth")
	require.True(t, s.Has("> fix-auth"))
	require.True(t, s.Has("7 sandboxes"))
	require.False(t, s.Has("hello"))
	s = quit(t, tt)
	require.True(t, s.Has("calls: [attach a1]"), "quitting touched a sandbox:\n%s", s.Text())
}

func TestEveryDetachKeyComesBackFromADirtyTerminal(t *testing.T) {
	for i, key := range []string{"\x1d", "\x1b[93;5u", "\x1b[93;5:1u", "\x1b[27;5;93~"} {
		tt := start(t, "list", 80, 24)
		tt.See("> fix-auth")
		kitty := tt.Keyboard()
		tt.Send("\r")
		tt.See("fix-auth-1$")
		tt.Send("dirty\r")
		tt.See("DIRTY")
		tt.Send(key)
		s := tt.See("detached from fix-auth")
		require.False(t, s.Has("DIRTY"))
		require.Equal(t, []int{1002, 1006, 1049, 2004}, tt.Modes(1, 1000, 1002, 1003, 1004, 1006, 1049, 2004, 2026), "%d", i)
		require.Equal(t, kitty, tt.Keyboard())
		require.False(t, s.Cursor)
		for y, l := range s.Lines {
			require.NotContains(t, s.Style(len(l)+1, y), "bg=", "left-over colour on line %d", y)
		}
		tt.Send("G")
		selected(tt, "wheel-cache")
		quit(t, tt)
	}
}

// A hundred quick rounds: after each detach the next keys are typed at once,
// none is lost and the screen never freezes (charmbracelet/bubbletea#1778).
func TestManyRoundsLoseNoKey(t *testing.T) {
	rounds := 100
	if testing.Short() {
		rounds = 10
	}
	tt := start(t, "list", 80, 24)
	selected(tt, "fix-auth")
	for i := 1; i <= rounds; i++ {
		tt.Send("\r")
		tt.See(fmt.Sprintf("fix-auth-%d$", i))
		switch i % 3 {
		case 0: // all in one write: the keys are read together with the detach key
			tt.Send("\x1djjk")
		case 1:
			tt.Send("\x1d")
			tt.Send("jjk")
		case 2: // the shell ends by itself, and typing goes on
			tt.Send("exit\r")
			tt.Wait("the list", func(s tuitest.Screen) bool { return s.Has("the session ended") })
			tt.Send("jjk")
		}
		selected(tt, "flaky-ci")
		tt.Send("k")
		selected(tt, "fix-auth")
	}
	quit(t, tt)
}

// What is typed right after Enter belongs to the session, not to the list,
// where "s" would stop the sandbox.
func TestTypingAheadGoesToTheSession(t *testing.T) {
	tt := start(t, "list", 80, 24)
	tt.See("> fix-auth")
	tt.Send("\rsDq\r")
	tt.See("[sDq]")
	tt.Send("\x1d")
	tt.See("detached")
	require.True(t, quit(t, tt).Has("calls: [attach a1]"))
}

func TestSecondDetachKeyGoesBack(t *testing.T) {
	tt := start(t, "list", 80, 24)
	tt.See("> fix-auth")
	tt.Send("\r")
	tt.See("fix-auth-1$")
	tt.Send("\x1d")
	tt.See("detached")
	tt.Send("\x1d")
	tt.See("fix-auth-2$ ^]")
	tt.Send("\x1d\x1d") // both at once
	tt.See("^]^]")
	tt.Send("\x1d")
	tt.See("detached")
	quit(t, tt)
}

func TestRefusedAttachDoesNotFreeze(t *testing.T) {
	tt := start(t, "refuse", 80, 24)
	tt.See("> fix-auth")
	for i := range 30 {
		tt.Send("\r")
		tt.See("attach fix-auth: the sandbox does not answer")
		if i == 0 {
			tt.Send("e")
			tt.See("(cove restart it)")
			tt.Send("\x1b")
			tt.Gone("esc closes")
		}
		tt.Send("G")
		selected(tt, "wheel-cache")
		tt.Send("g")
		selected(tt, "fix-auth")
		tt.Send("\x1b")
		tt.Gone("does not answer")
	}
	require.True(t, tt.Mode(1049))
	quit(t, tt)
}

func TestLostConnectionSaysSo(t *testing.T) {
	tt := start(t, "list", 100, 24)
	tt.See("> fix-auth")
	tt.Send("\r")
	tt.See("fix-auth-1$")
	tt.Send("cut\r")
	s := tt.See("the connection is lost")
	require.True(t, s.Has("> fix-auth"))
	quit(t, tt)
}

func TestCreate(t *testing.T) {
	tt := start(t, "empty", 80, 24)
	s := tt.See("n makes your first sandbox")
	require.True(t, s.Has("0 sandboxes"))
	tt.Send("n")
	tt.See("Python on this machine")
	tt.Send("\tBad")
	tt.See("may only have a-z, 0-9 and hyphens")
	tt.Send("\r") // nothing happens
	tt.Send("\x15my-box")
	tt.See("free")
	tt.Send("\x1b[Z\x1b[B")
	s = tt.See("$ cove create -p python -n my-box")
	require.True(t, s.Cursor)
	tt.Send("\r")
	s = tt.See("> my-box")
	tt.See("created my-box")
	tt.Gone("New sandbox")
	tt.Send("npyth\tjust typing s and D\x15my-box")
	tt.See("the name is taken")
	tt.Send("\x1b")
	tt.See("Leave the form?")
	tt.Send("y")
	tt.Gone("New sandbox")
	require.True(t, quit(t, tt).Has("calls: [create my-box python]"))
}

func TestStopStartRestartDelete(t *testing.T) {
	tt := start(t, "list", 90, 24)
	tt.See("> fix-auth")
	tt.Send("s")
	tt.See("stopped fix-auth   $ cove stop fix-auth")
	tt.Wait("the row to say so too", func(s tuitest.Screen) bool {
		l, _ := s.Line("> fix-auth")
		return strings.Contains(l, "○ stopped")
	})
	tt.Send("\r")
	tt.See("attach needs a sandbox that is started; this one is stopped; s starts it")
	tt.Send("s")
	tt.See("started fix-auth   $ cove start fix-auth")
	tt.Send("r")
	tt.See("restarted fix-auth")
	tt.Send("D")
	s := tt.See("Delete fix-auth?")
	require.True(t, s.Has(">Cancel<"), "the default is not to delete")
	require.True(t, s.Has("$ cove rm fix-auth"))
	tt.Send("\r")
	tt.Gone("Delete fix-auth?")
	require.True(t, tt.Screen().Has("> fix-auth"))
	tt.Send("D")
	tt.See("Delete fix-auth?")
	tt.Send("\t\r")
	tt.Gone("> fix-auth")
	selected(tt, "flaky-ci")
	tt.See("6 sandboxes")
	s = quit(t, tt)
	require.True(t, strings.Contains(strings.Join(s.Lines, ""), "calls: [stop a1 start a1 restart a1 delete a1]"), s.Text())
}

func TestMouse(t *testing.T) {
	tt := start(t, "many", 100, 30)
	s := tt.See("> box-0000")
	_, y := s.Line("box-0003")
	tt.Send(fmt.Sprintf("\x1b[<0;10;%dM\x1b[<0;10;%dm", y+1, y+1))
	selected(tt, "box-0003")
	tt.Send(strings.Repeat("\x1b[<65;10;10M", 4))
	tt.See("13-33 of 1000")
	quit(t, tt)
}

func TestFilterMarkAndDeleteMany(t *testing.T) {
	tt := start(t, "many", 130, 30)
	tt.See("> box-0000")
	tt.Send("/box-000 state:started")
	tt.See("4 of 1000")
	tt.Send("\r*")
	tt.See("4 marked")
	tt.Send("D")
	tt.See("Delete 4 sandboxes?")
	tt.Send("y")
	tt.See("4 deleted")
	tt.Send("\x1b")
	tt.Gone("4 deleted")
	tt.Send("\x1b")
	tt.Gone("/box-000")
	tt.See("996 sandboxes")
	tt.Send("oc")
	tt.See("CPU▼")
	s := quit(t, tt)
	require.True(t, strings.Contains(strings.Join(s.Lines, ""), "delete c0005"), s.Text())
}

func TestResizeDown(t *testing.T) {
	tt := start(t, "list", 120, 40)
	tt.See("> fix-auth")
	for _, size := range [][2]int{{40, 8}, {39, 8}, {20, 5}, {1, 1}, {2, 2}, {300, 100}, {80, 24}} {
		tt.Resize(size[0], size[1])
		switch {
		case size[0] >= minWidth && size[1] >= minHeight:
			tt.Wait(fmt.Sprintf("the list at %v", size), func(s tuitest.Screen) bool {
				return s.Has("> fix-auth") && len(s.Lines) == size[1] && strings.Contains(s.Lines[size[1]-1], "enter attach")
			})
		case size[0] > 30:
			tt.See(fmt.Sprintf("cove needs 40x8 (now %dx%d)", size[0], size[1]))
		}
	}
	quit(t, tt)
}

// A process group that no shell looks after is not stopped by SIGTSTP, so a
// shell with job control runs the program.
func TestSuspendAndResume(t *testing.T) {
	exe, err := os.Executable()
	require.NoError(t, err)
	tt := tuitest.Start(t, tuitest.Config{Env: []string{programEnv + "=list"}},
		"/bin/bash", "--norc", "-c", `set -m; "$0"; echo stopped with $?; read -r line; fg >/dev/null; echo all done`, exe)
	tt.See("> fix-auth")
	tt.Send("\x1a")
	s := tt.See("stopped with 148")
	require.False(t, s.Alt)
	require.Empty(t, tt.Modes(modes...))
	require.Equal(t, 0, tt.Keyboard())
	tt.Send("on\r")
	tt.See("> fix-auth")
	tt.Send("j")
	selected(tt, "flaky-ci")
	tt.Send("q")
	tt.See("all done")
	require.NoError(t, tt.Exit())
	require.Empty(t, tt.Modes(modes...))
}

func TestSignalsAndPanicsGiveTheTerminalBack(t *testing.T) {
	for name, end := range map[string]func(*tuitest.Terminal){
		"SIGTERM": func(tt *tuitest.Terminal) { tt.Signal(syscall.SIGTERM) },
		"SIGINT":  func(tt *tuitest.Terminal) { tt.Signal(syscall.SIGINT) },
		"SIGHUP":  func(tt *tuitest.Terminal) { tt.Signal(syscall.SIGHUP) },
		"SIGTERM in a session": func(tt *tuitest.Terminal) {
			tt.Send("\r")
			tt.See("fix-auth-1$")
			tt.Send("dirty\r")
			tt.See("DIRTY")
			tt.Signal(syscall.SIGTERM)
		},
		"ctrl+c": func(tt *tuitest.Terminal) { tt.Send("\x03") },
		"panic":  func(tt *tuitest.Terminal) { tt.Send("\r") },
	} {
		t.Run(name, func(t *testing.T) {
			kind := "list"
			if name == "panic" {
				kind = "panic"
			}
			tt := start(t, kind, 80, 24)
			tt.See("> fix-auth")
			end(tt)
			err := tt.Exit()
			require.Equal(t, name == "panic", err != nil, "%v", err)
			require.Empty(t, tt.Modes(modes...))
			require.Equal(t, 0, tt.Keyboard())
			require.True(t, tt.Screen().Cursor)
		})
	}
}

func TestNoColorAndASCII(t *testing.T) {
	tt := start(t, "list", 80, 24, "NO_COLOR=1")
	s := tt.See("> fix-auth")
	for y := range s.Lines {
		for x := range 80 {
			require.NotContains(t, s.Style(x, y), "g=", "a colour at %d,%d", x, y)
		}
	}
	_, y := s.Line("> fix-auth")
	require.Contains(t, s.Style(0, y), "reverse")
	quit(t, tt)
}

// An idle list writes nothing and the first frame comes soon.
func TestFirstFrameAndQuiet(t *testing.T) {
	begin := time.Now()
	tt := start(t, "quiet", 100, 30)
	tt.See("> fix-auth")
	first := time.Since(begin)
	t.Logf("first frame after %s", first)
	require.AtMost(t, first, 3*time.Second) // the goal is 60 ms; this is a machine under load
	tt.Send("j")
	selected(tt, "flaky-ci")
	silent := func(where string) {
		tt.Settle(300 * time.Millisecond)
		before := tt.Bytes()
		timer := time.NewTimer(2500 * time.Millisecond)
		<-timer.C
		require.Equal(t, before, tt.Bytes(), "bytes written while nothing happened in %s", where)
	}
	silent("the list")
	tt.Send("n\tbox") // the cursor of a line being typed is the terminal's own
	require.True(t, tt.See("-n box").Cursor)
	silent("the dialog")
	tt.Send("\x1b")
	tt.See("Leave the form?")
	tt.Send("y")
	tt.Gone("New sandbox")
	quit(t, tt)
}
