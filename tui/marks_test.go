package tui

import (
	"fmt"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"cove/runtime/api"
	"cove/runtime/lifecycle"
	"cove/tui/internal/require"
)

func TestMarks(t *testing.T) {
	m := newModel(t, 100, 24, fleet(noon())...)
	m.key("space", "down", "space") // fix-auth, gen-docs
	m.see("◆ 2 marked")
	m.see(" ◆fix-auth")
	m.see(" ◆gen-docs")
	m.key("o", "n") // the other way round: marks stay on their sandboxes
	m.see(" ◆fix-auth")
	m.key("/")
	m.typed("gen")
	m.key("enter")
	m.see("2 marked (1 not shown)")
	m.key("esc", "esc", "esc")
	m.gone("marked")
	m.key("*")
	m.see("7 marked")
	m.key("*")
	m.gone("marked")
	m.key("home", "down", "V", "down", "down")
	m.see("3 marked  marking a range")
	m.key("up")
	m.see("2 marked")
	m.key("V", "down")
	m.see("2 marked")
	m.gone("marking")
	m.key("home", "V", "end", "esc", "up") // the range is done, its marks stay
	m.see("7 marked")
	m.fake.Remove("a1")
	m.sync()
	m.see("6 marked")
}

func TestActionsOnMarkedAskOnce(t *testing.T) {
	m := newModel(t, 100, 24, fleet(noon())...)
	m.key("*", "r")
	s := m.screen()
	require.True(t, s.Has("Restart 5 sandboxes?"))
	require.True(t, s.Has("fix-auth, flaky-ci, gen-docs, old-demo, spike"))
	require.True(t, s.Has("Left out: trainer (stopping), wheel-cache (pulling_snapshot)"))
	require.True(t, s.Has("$ cove restart fix-auth flaky-ci gen-docs old-demo spike"))
	m.key("enter") // the default is no
	m.run()
	require.Empty(t, m.fake.Calls())
	m.see("7 marked")
	// One of them is gone before the answer, another fails.
	m.key("r")
	m.fake.Put(api.Sandbox{ID: "a3", Name: "old-demo", State: lifecycle.Resizing, Created: noon()})
	m.fake.Remove("a6")
	m.sync()
	m.key("y")
	m.see("restart: 1 of 4 done…")
	m.run()
	m.see("✗ 3 restarted, 1 failed: old-demo: restart needs a sandbox")
	m.key("e")
	m.see("$ cove restart fix-auth")
	require.Len(t, m.fake.Calls(), 3)
	m.key("esc", "esc")
	m.gone("marked")
	m.key("a")
	m.see("restart 4 sandboxes")
}

func TestStartOrStopOfMarked(t *testing.T) {
	box := func(n int, s lifecycle.State) api.Sandbox {
		return api.Sandbox{ID: fmt.Sprint(n), Name: fmt.Sprintf("b%d", n), State: s, Created: noon()}
	}
	for _, c := range []struct {
		states []lifecycle.State
		want   string
	}{
		{[]lifecycle.State{lifecycle.Started, lifecycle.Started, lifecycle.Stopped}, "Stop 2 sandboxes?"},
		{[]lifecycle.State{lifecycle.Started, lifecycle.Stopped, lifecycle.Stopped}, "Start 2 sandboxes?"},
		{[]lifecycle.State{lifecycle.Started, lifecycle.Stopped}, "Start 1 sandbox?"},
		{[]lifecycle.State{lifecycle.Stopping, lifecycle.Started}, "Stop 1 sandbox?"},
	} {
		var boxes []api.Sandbox
		for i, s := range c.states {
			boxes = append(boxes, box(i, s))
		}
		m := newModel(t, 80, 24, boxes...)
		m.key("*", "s")
		m.see(c.want)
	}
	m := newModel(t, 100, 24, box(1, lifecycle.Stopping), box(2, lifecycle.Starting))
	m.key("*", "r")
	m.see("none of the marked can: restart needs a sandbox")
}

// Hundreds of marked sandboxes are not sent to the daemon all at once.
func TestBatchesAreSentAFewAtATime(t *testing.T) {
	m := newModel(t, 80, 24, crowd(noon(), 100)...)
	m.key("*", "D")
	m.see("Delete 100 sandboxes?")
	m.see("and 80 more")
	m.see(">Cancel<")
	m.key("y")
	require.Equal(t, 1, len(m.app.works), "one thing for the person")
	require.Equal(t, atOnce, cap(m.app.slots))
	m.run()
	require.Len(t, m.fake.Calls(), 100)
	require.Equal(t, 0, len(m.app.slots))
	require.Empty(t, m.app.works)
	m.see("No sandboxes yet.")
	m.see("100 deleted")
}

func TestPauseAndResume(t *testing.T) {
	m := newModel(t, 100, 24, fleet(noon())...)
	m.key("p")
	m.run()
	m.see("paused fix-auth   $ cove pause fix-auth")
	m.see("◇ paused")
	m.key("p")
	m.run()
	m.see("resumed fix-auth")
	m.key("down", "p")
	m.see("pause needs a sandbox that is started")
	require.Equal(t, []string{"pause a1", "resume a1"}, m.fake.Calls())
}

func TestRename(t *testing.T) {
	m := newModel(t, 80, 24, fleet(noon())...)
	m.key("m")
	m.see("Rename fix-auth")
	m.key("ctrl+u")
	m.typed("gen-docs")
	m.see("the name is taken")
	m.key("enter") // nothing happens
	m.see("Rename fix-auth")
	m.typed("-2")
	m.see("$ cove rename fix-auth gen-docs-2")
	m.key("enter")
	m.run()
	m.see("renamed fix-auth   $ cove rename fix-auth gen-docs-2")
	m.see("> gen-docs-2") // the selection is on the sandbox, whatever its name
	m.key("m", "enter")   // nothing to do
	m.key("m", "esc")
	require.Equal(t, []string{"rename a1 gen-docs-2"}, m.fake.Calls())
}

func TestLabels(t *testing.T) {
	m := newModel(t, 80, 24, fleet(noon())...)
	m.key("L")
	m.see("there are none yet")
	m.typed("team")
	m.see(`"team" is neither KEY=VALUE nor KEY-`)
	m.key("enter")
	m.typed(`=ml note="two words" old-`)
	m.see("$ cove label fix-auth team=ml 'note=two words' old-")
	m.key("enter")
	m.run()
	m.see("labelled fix-auth")
	m.key("esc", "L")
	m.see("now: note=two words team=ml")
	m.typed("team-")
	m.key("enter")
	m.run()
	require.Equal(t, map[string]string{"note": "two words"}, m.app.find("a1").Labels)
	m.key("*", "L")
	m.see("Labels of 7 sandboxes")
	m.typed("all=yes")
	m.key("enter")
	m.run()
	m.see("7 labelled")
	require.Equal(t, "yes", m.app.find("a7").Labels["all"])
	m.key("/")
	m.typed("label:all=yes label:note")
	require.Equal(t, "fix-auth", m.shown())
}

func TestCopyMenu(t *testing.T) {
	m := newModel(t, 80, 24, fleet(noon())...)
	m.key("down", "y")
	m.see("cove attach flaky-ci")
	m.see("start: runc: container process")
	m.key("i")
	m.see("copied the id")
	msg := m.cmds[len(m.cmds)-1]()
	require.Equal(t, "a4", fmt.Sprint(msg))
	m.key("home", "space", "space", "y", "n")
	msg = m.cmds[len(m.cmds)-1]()
	require.Equal(t, "fix-auth\nflaky-ci", fmt.Sprint(msg))
}

func TestNewShellTakesAFreeName(t *testing.T) {
	s := func(names ...string) (out []api.Session) {
		for _, n := range names {
			out = append(out, api.Session{Name: n})
		}
		return out
	}
	require.Equal(t, "main", freeSession(nil))
	require.Equal(t, "shell-2", freeSession(s("main")))
	require.Equal(t, "shell-3", freeSession(s("shell-2", "main")))
	m := newModel(t, 80, 24, fleet(noon())...)
	m.key("t")
	m.see("attaching to fix-auth…")
	m.runUntil(func() bool { return len(m.fake.Calls()) > 0 })
	require.Equal(t, []string{"attach a1 shell-2"}, m.fake.Calls())
}

func TestDoubleClickAttaches(t *testing.T) {
	m := newModel(t, 80, 24, fleet(noon())...)
	_, y := m.screen().Line("gen-docs")
	click := func(dy int) { m.send(tea.MouseClickMsg{X: 5, Y: y + dy, Button: tea.MouseLeft}) }
	click(0)
	m.now = m.now.Add(time.Second)
	click(0)
	require.Nil(t, m.app.attach, "too slow for a double click")
	click(1)
	click(0)
	require.Nil(t, m.app.attach, "of two rows")
	click(0)
	require.NotNil(t, m.app.attach)
	require.Equal(t, "gen-docs", m.app.attach.name)
}
