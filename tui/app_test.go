package tui

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"
	"github.com/creack/pty"

	"cove/runtime/api"
	"cove/runtime/frame"
	"cove/runtime/lifecycle"
	"cove/tui/attach"
	"cove/tui/internal/require"
)

func TestHintsFollowTheState(t *testing.T) {
	for _, c := range []struct {
		state   lifecycle.State
		hint    string
		allowed []string
	}{
		{lifecycle.Started, "s stop", []string{actAttach, actStop, actRestart, actDelete}},
		{lifecycle.Stopped, "s start", []string{actStart, actRestart, actDelete}},
		{lifecycle.Error, "s start", []string{actStart, actStop, actRestart, actDelete}},
		{lifecycle.Starting, "s start", []string{actDelete}},
		{lifecycle.Destroying, "s start", nil},
		{lifecycle.Paused, "s stop", []string{actStop, actRestart, actDelete}},
	} {
		m := newModel(t, 80, 24, api.Sandbox{ID: "1", Name: "a", State: c.state, Created: noon()})
		m.see(c.hint)
		for _, id := range []string{actAttach, actStart, actStop, actRestart, actDelete} {
			why := m.app.actionReason(id, m.app.scope())
			may := false
			for _, ok := range c.allowed {
				may = may || ok == id
			}
			require.Equal(t, may, why == "", "%s of a sandbox that is %s: %q", id, c.state, why)
		}
	}
}

func TestDisabledKeysSayWhy(t *testing.T) {
	m := newModel(t, 100, 24, api.Sandbox{ID: "1", Name: "a", State: lifecycle.Stopping, Created: noon()})
	for key, say := range map[string]string{
		"enter": "attach needs a sandbox that is started; this one is stopping",
		"s":     "start needs a sandbox that is stopped, archived or error; this one is stopping",
		"r":     "restart needs",
		"e":     "error: there is no error",
	} {
		m.key(key)
		m.see(say)
	}
	require.Empty(t, m.fake.Calls())
	m = newModel(t, 100, 24, api.Sandbox{ID: "1", Name: "a", State: lifecycle.Paused, Created: noon()})
	m.key("enter")
	m.see("attach needs a sandbox that is started; this one is paused; p resumes it")
	m = newModel(t, 80, 24)
	m.key("D")
	m.see("delete: no sandbox is selected")
}

func TestOneThingAtATimeForEachSandbox(t *testing.T) {
	m := newModel(t, 80, 24, fleet(noon())...)
	m.key("s")
	m.see("stop fix-auth…")
	m.key("s", "r", "D")
	m.see("delete: the daemon has not answered stop yet")
	m.key("j", "s") // another one may be told
	m.run()
	require.Equal(t, []string{"stop a1", "start a4"}, m.fake.Calls())
	m.key("k", "s")
	m.run()
	require.Equal(t, []string{"stop a1", "start a4", "start a1"}, m.fake.Calls())
}

func TestDeleteAsks(t *testing.T) {
	m := newModel(t, 80, 24, fleet(noon())...)
	for _, no := range [][]string{{"enter"}, {"esc"}, {"n"}, {"q"}, {"tab", "tab", "enter"}, {"right", "left", "enter"}} {
		m.key("D")
		m.see("Delete fix-auth?")
		m.key(no...)
		m.gone("Delete fix-auth?")
	}
	m.run()
	require.Empty(t, m.fake.Calls())
	for _, yes := range [][]string{{"y"}, {"tab", "enter"}, {"l", "enter"}} {
		m.key("D")
		m.key(yes...)
		m.run()
	}
	require.Equal(t, []string{"delete a1", "delete a4", "delete a2"}, m.fake.Calls())

	// Nobody deletes what is not there anymore, nor another one in its place.
	m.key("D")
	m.fake.Remove("a3")
	m.sync()
	m.key("y")
	m.see("delete: no sandbox is selected")
	m.run()
	require.Len(t, m.fake.Calls(), 3)
}

func TestErrorStaysUntilDismissed(t *testing.T) {
	m := newModel(t, 80, 24, fleet(noon())...)
	m.send(doneMsg{id: "a1", name: "fix-auth", verb: "stop", err: errors.New("it hangs\x1b[31m")})
	m.see("✗ stop fix-auth: it hangs")
	m.now = m.now.Add(time.Hour)
	m.send(tickMsg{})
	m.see("it hangs")
	m.key("e")
	m.see("─ Error ─")
	m.key("esc")
	m.key("j", "enter") // news covers it for a while
	m.see("attach needs")
	m.now = m.now.Add(stay)
	m.send(tickMsg{})
	m.see("it hangs")
	m.key("esc")
	m.gone("it hangs")
	m.key("esc") // and never leaves the program
	require.Empty(t, m.fake.Calls())
}

func TestStaleListRefusesOrders(t *testing.T) {
	m := newModel(t, 80, 24, fleet(noon())...)
	s := m.app.snap
	s.Link, s.Err = Down, errors.New("connection refused")
	m.send(mirrorMsg{snap: s})
	m.see("daemon gone, reconnecting")
	_, y := m.screen().Line("fix-auth")
	require.Contains(t, m.screen().Style(5, y+1), "fg=", "a stale row looks as a true one does")
	for _, k := range []string{"enter", "s", "r", "D", "n"} {
		m.key(k)
		m.see(": the daemon does not answer")
	}
	m.run()
	require.Empty(t, m.fake.Calls())
	m.see("> fix-auth") // run brings the daemon back
	m.gone("reconnecting")
}

func TestSmallScreenActsOnNothing(t *testing.T) {
	m := newModel(t, 39, 24, fleet(noon())...)
	m.see("cove needs 40x8 (now 39x24)")
	m.key("s", "r", "D", "y", "n", "enter")
	m.run()
	require.Empty(t, m.fake.Calls())
	require.NotNil(t, m.app.key(tea.KeyPressMsg{Code: 'q', Text: "q"}), "but it can be left")
}

func TestKeysThatMeanTheSameEverywhere(t *testing.T) {
	ctrlC := tea.KeyPressMsg{Code: 'c', Mod: tea.ModCtrl}
	ctrlZ := tea.KeyPressMsg{Code: 'z', Mod: tea.ModCtrl}
	for _, open := range []string{"", "n", "D", "?"} {
		m := newModel(t, 80, 24, fleet(noon())...)
		if open != "" {
			m.key(open)
		}
		require.Equal[tea.Msg](t, tea.QuitMsg{}, m.app.key(ctrlC)())
		require.Equal[tea.Msg](t, tea.SuspendMsg{}, m.app.key(ctrlZ)())
		require.Empty(t, m.fake.Calls(), "quitting touches no sandbox")
	}
}

func TestJoining(t *testing.T) {
	m := newModel(t, 80, 24, fleet(noon())...)
	m.key("enter")
	m.see("attaching to fix-auth…")
	m.key("s", "D", "q")
	m.gone("Delete")
	m.key("esc") // gives up
	m.see("not attached to fix-auth")
	m.run() // the session that comes too late is closed
	require.Nil(t, m.app.attach)
	require.Equal(t, []string{"attach a1"}, m.fake.Calls())

	m.fake.RefuseAttach = errors.New("no shell")
	m.key("enter")
	m.run()
	m.see("✗ attach fix-auth: no shell")
	require.Nil(t, m.app.attach)
}

func TestReturn(t *testing.T) {
	for _, c := range []struct {
		res attach.Result
		err error
		see string
	}{
		{attach.Result{How: attach.Detached}, nil, "detached from gen-docs; what runs in it goes on"},
		{attach.Result{How: attach.Exited, Exit: frame.ExitStatus{Code: 3}}, nil, "gen-docs: the session ended with status 3"},
		{attach.Result{How: attach.Exited, Exit: frame.ExitStatus{Reason: frame.ReasonOOM}}, nil, "out of memory"},
		{attach.Result{How: attach.Exited, Exit: frame.ExitStatus{Reason: frame.ReasonGone}}, nil, "the sandbox stopped"},
		{attach.Result{How: attach.Exited, Exit: frame.ExitStatus{Signal: 9}}, nil, "ended by SIGKILL"},
		{attach.Result{How: attach.Lost, Err: errors.New("broken pipe")}, nil, "✗ attach: gen-docs: the connection is lost (broken pipe)"},
		{attach.Result{}, attach.ErrNotTerminal, "✗ attach gen-docs: not a terminal"},
	} {
		m := newModel(t, 120, 24, fleet(noon())...)
		m.app.attach = &attachment{gen: 7, id: "a2", name: "gen-docs", running: true, cancel: func() {}}
		m.key("k") // typed after the session, read before we are told
		m.send(detachedMsg{gen: 6})
		require.NotNil(t, m.app.attach, "an answer to another question")
		c.res.Rest = []byte("jj")
		m.send(detachedMsg{gen: 7, res: c.res, err: c.err})
		m.see(c.see)
		m.see("> old-demo") // gen-docs, two down, one up
	}
}

func TestSecondDetachKeyComesInTime(t *testing.T) {
	for late, back := range map[time.Duration]bool{100 * time.Millisecond: true, time.Second: false} {
		m := newModel(t, 80, 24, fleet(noon())...)
		m.app.attach = &attachment{gen: 1, id: "a1", name: "fix-auth", running: true, cancel: func() {}}
		m.send(detachedMsg{gen: 1, res: attach.Result{How: attach.Detached, At: m.now}})
		m.now = m.now.Add(late)
		m.key("ctrl+]")
		require.Equal(t, back, m.app.attach != nil, "after %s", late)
		if back {
			require.Equal(t, "\x1d", string(m.app.attach.typed))
		}
	}
}

func TestMouseOnTheModel(t *testing.T) {
	m := newModel(t, 80, 24, crowd(noon(), 100)...)
	m.send(tea.MouseClickMsg{X: 5, Y: 6, Button: tea.MouseLeft})
	m.see("> box-0003")
	m.send(tea.MouseClickMsg{X: 5, Y: 7, Button: tea.MouseRight})
	m.see("> box-0003")
	m.send(tea.MouseWheelMsg{Button: tea.MouseWheelDown})
	m.see("4-19 of 100")
	m.send(tea.MouseWheelMsg{Button: tea.MouseWheelUp})
	m.see("1-16 of 100")
	m.key("D")
	s := m.screen()
	line, y := s.Line(">Cancel<")
	x := len([]rune(line[:strings.Index(line, "Delete")]))
	m.send(tea.MouseClickMsg{X: 1, Y: 1, Button: tea.MouseLeft}) // beside it
	m.see("Delete box-0003?")
	m.send(tea.MouseClickMsg{X: x, Y: y, Button: tea.MouseLeft})
	m.run()
	require.Equal(t, []string{"delete c0003"}, m.fake.Calls())
}

func TestColoursOfTheTerminal(t *testing.T) {
	m := newModel(t, 80, 24, fleet(noon())...)
	require.NotEqual(t, 0, m.app.theme.OK.Fg)
	m.send(tea.ColorProfileMsg{Profile: colorprofile.ASCII})
	require.Equal(t, 0, m.app.theme.OK.Fg)
	m.send(tea.ColorProfileMsg{Profile: colorprofile.TrueColor})
	require.Equal(t, 0, m.app.theme.OK.Fg, "NO_COLOR stays")
}

func TestUsable(t *testing.T) {
	p, tty, err := pty.Open()
	require.NoError(t, err)
	defer func() { _, _ = p.Close(), tty.Close() }()
	null, err := os.Open(os.DevNull)
	require.NoError(t, err)
	defer func() { _ = null.Close() }()
	require.NoError(t, Usable(tty, tty, "xterm"))
	require.True(t, errors.Is(Usable(tty, tty, "dumb"), ErrDumb))
	require.True(t, errors.Is(Usable(tty, tty, ""), ErrDumb))
	require.True(t, errors.Is(Usable(null, tty, "xterm"), ErrNotTerminal))
	require.True(t, errors.Is(Usable(tty, null, "xterm"), ErrNotTerminal))
}
