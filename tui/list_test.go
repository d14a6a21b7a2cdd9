package tui

import (
	"errors"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"cove/config"
	"cove/runtime/api"
	"cove/runtime/lifecycle"
	"cove/tui/internal/require"
	"cove/tui/meter"
	"cove/tui/tuitest"
)

// shown is the names of the rows in their order.
func (m *model) shown() string {
	var names []string
	for _, id := range m.app.list.IDs() {
		names = append(names, m.app.find(id).Name)
	}
	return strings.Join(names, " ")
}

// loads gives sandboxes by their ids what they use.
func loads(cpu map[string]float64) tuitest.Load {
	return func(id string, _ int) (float64, int64) { return cpu[id], int64(cpu[id]*100) << 20 }
}

func TestOrders(t *testing.T) {
	now := noon()
	at := func(d time.Duration) time.Time { return now.Add(-d) }
	boxes := []api.Sandbox{
		{ID: "1", Name: "delta", State: lifecycle.Started, Profile: "b", Created: at(time.Hour)},
		{ID: "2", Name: "alpha", State: lifecycle.Stopped, Profile: "a", Created: at(3 * time.Hour), Reason: &lifecycle.Reason{Kind: lifecycle.ReasonExited, Code: 2}},
		{ID: "3", Name: "bravo", State: lifecycle.Started, Profile: "b", Created: at(2 * time.Hour)},
		{ID: "4", Name: "echo", State: lifecycle.BuildFailed, Profile: "a", Created: at(time.Minute)},
		{ID: "5", Name: "charlie", State: lifecycle.Stopped, Profile: "c", Created: at(time.Second), Reason: &lifecycle.Reason{Kind: lifecycle.ReasonIdle}},
		{ID: "6", Name: "foxtrot", State: lifecycle.Started, Profile: "c", Created: at(4 * time.Hour)},
	}
	for _, c := range []struct{ by, want, reversed string }{
		{byAttention, "echo alpha bravo charlie delta foxtrot", "bravo charlie delta foxtrot alpha echo"},
		{byName, "alpha bravo charlie delta echo foxtrot", "foxtrot echo delta charlie bravo alpha"},
		{byCPU, "bravo delta foxtrot alpha charlie echo", "alpha charlie echo delta foxtrot bravo"},
		{byMemory, "bravo delta foxtrot alpha charlie echo", "alpha charlie echo delta foxtrot bravo"},
		{byDisk, "bravo delta foxtrot alpha charlie echo", "alpha charlie echo foxtrot bravo delta"},
		{byGPU, "foxtrot alpha bravo charlie delta echo", "alpha bravo charlie delta echo foxtrot"},
		{byAge, "charlie echo delta bravo alpha foxtrot", "foxtrot alpha bravo delta echo charlie"},
		{byState, "echo bravo delta foxtrot alpha charlie", "alpha charlie bravo delta foxtrot echo"},
		{byProfile, "alpha echo bravo delta charlie foxtrot", "charlie foxtrot bravo delta alpha echo"},
	} {
		m := newModel(t, 80, 24, boxes...)
		m.fake.Load = loads(map[string]float64{"1": 0.5, "3": 2, "6": 0.5})
		m.fake.More = func(s *api.Stats) {
			s.Disk = map[string]int64{"1": 1 << 30, "3": 1<<30 + 1<<10, "6": 1 << 20}[s.ID]
			if s.ID == "6" {
				s.GPUs = []api.GPUUse{{ID: "x", Utilization: 0.5}}
			}
		}
		m.measure(5)
		m.app.order.by = "" // whatever it was
		m.app.sortBy(c.by)
		require.Equal(t, c.want, m.shown(), "by %s", c.by)
		m.see("sorted by " + c.by)
		m.key("O")
		require.Equal(t, c.reversed, m.shown(), "by %s reversed", c.by)
		m.see("sorted by " + c.by + " reversed")
	}
}

// The settings know the same orders, and the menu has all of them.
func TestOrdersAreThoseOfTheSettings(t *testing.T) {
	var all []string
	for _, o := range orders() {
		all = append(all, o.by)
	}
	require.Equal(t, config.Orders(), all)
	m := newModel(t, 80, 24, fleet(noon())...)
	m.key("o")
	for _, by := range all {
		m.see("  " + by)
	}
	m.key("down", "enter") // from where it is: name
	m.see("sorted by cpu")
	m.key("o", "a")
	m.see("sorted by attention")
	m.key("o", "esc")
	m.gone("Sort by")
}

func TestTitlesSort(t *testing.T) {
	m := newModel(t, 80, 24, fleet(noon())...)
	m.measure(1)
	line, y := m.screen().Line("NAME")
	require.Contains(t, line, "NAME▲")
	click := func(title string) {
		x := len([]rune(line[:strings.Index(line, title)]))
		m.send(tea.MouseClickMsg{X: x, Y: y, Button: tea.MouseLeft})
	}
	click("CPU")
	m.see("CPU▼")
	click("CPU")
	m.see("CPU▲")
	click("MEM")
	m.see("MEM▼")
	m.gone("CPU▼")
	click("NAME")
	m.see("NAME▲")
	click("SINCE") // stands for no order
	m.see("NAME▲")
}

// Rows do not change places because a number trembles, and the selection stays
// on its sandbox when they do.
func TestSelectionFollowsTheSandbox(t *testing.T) {
	m := newModel(t, 80, 24, crowd(noon(), 20)...)
	use := map[string]float64{"c0000": 1, "c0001": 2}
	m.fake.Load = func(id string, _ int) (float64, int64) { return use[id], 1 << 20 }
	m.measure(6)
	m.key("o", "c", "g")
	m.see("> box-0001")
	use["c0000"], use["c0001"] = 2.001, 1.999
	m.measure(1)
	require.True(t, strings.HasPrefix(m.shown(), "box-0001 box-0000"))
	use["c0000"] = 9
	m.measure(5)
	require.True(t, strings.HasPrefix(m.shown(), "box-0000 box-0001"))
	m.see("> box-0001")
}

func TestNumbersOfARow(t *testing.T) {
	m := newModel(t, 200, 24, api.Sandbox{ID: "1", Name: "a", State: lifecycle.Started, Created: noon()})
	m.app.toggleDetail()
	m.fake.Load = func(_ string, n int) (float64, int64) { return float64(n % 3), 3 << 30 }
	m.measure(20)
	row := func() string { l, _ := m.screen().Line("> a"); return l }
	require.Contains(t, row(), "80%") // 0, 1, 2, 0, 1: the average of five seconds
	require.Contains(t, row(), "▅█▁▅█▁▅█▁▅"[:len("▅█▁▅█")])
	require.Contains(t, row(), "3G/4G")
	require.Contains(t, row(), "━━━━━━──")
	m.fake.Load = func(string, int) (float64, int64) { return 4, 4<<30 - 1 }
	m.measure(20)
	require.Contains(t, row(), "400%")
	require.Contains(t, row(), "━━━━━━━─")
	_, y := m.screen().Line("> a")
	x := strings.Index(row(), "4G/4G")
	x = len([]rune(row()[:x]))
	require.Contains(t, m.screen().Style(x, y), "fg="+m.badColor(), "nearly all of the memory")
}

// badColor is the colour of what is wrong, as a screen names it.
func (m *model) badColor() string {
	s := tuitest.Draw(m.app.theme.Bad.Paint("x"), 1, 1)
	_, name, _ := strings.Cut(s.Style(0, 0), "fg=")
	return name
}

func TestOldNumbersAreNotShownAsNew(t *testing.T) {
	m := newModel(t, 80, 24, fleet(noon())...)
	m.measure(10)
	row := func() string { l, _ := m.screen().Line("fix-auth  "); return l }
	require.Contains(t, row(), "/4G")
	m.now = m.now.Add(meter.Fresh + time.Second)
	m.send(tickMsg{})
	require.NotContains(t, row(), "/4G")
	require.Contains(t, row(), "–")
	require.NotContains(t, m.screen().Lines[0], "cores")
	m.send(statsMsg{err: errors.New("no such path\x1b[31m")})
	m.see("no statistics: no such path")
	m.key("v") // the details still say what was, and when
	m.see("as it was")
	m.key("v")
	m.measure(1)
	require.Contains(t, row(), "/4G")
	m.gone("no statistics")
}

func TestWhatAHostCannotTellIsNotZero(t *testing.T) {
	m := newModel(t, 80, 24, api.Sandbox{ID: "1", Name: "a", State: lifecycle.Started, Created: noon()})
	r := m.fake.Report(0)
	r.Sandboxes[0].Missing = []string{"cpu", "memory", "pids", "net_rx"}
	m.send(statsMsg{reports: []api.StatsReport{r}})
	l, _ := m.screen().Line("> a")
	require.Equal(t, 2, strings.Count(l, " – ")+strings.Count(l, "–/")-strings.Count(l, "IDLE"), l)
	require.NotContains(t, l, "%")
	m.key("v")
	m.see("this host cannot tell cpu, memory, pids, net_rx")
}

func TestAStoppedSandboxSaysWhy(t *testing.T) {
	for _, c := range []struct {
		state  lifecycle.State
		reason lifecycle.Reason
		row    string
		note   string
	}{
		{lifecycle.Stopped, lifecycle.Reason{Kind: lifecycle.ReasonUser}, "○ stopped · user", ""},
		{lifecycle.Stopped, lifecycle.Reason{Kind: lifecycle.ReasonExited}, "○ stopped · exited(0)", ""},
		{lifecycle.Stopped, lifecycle.Reason{Kind: lifecycle.ReasonExited, Code: 3}, "▲ stopped · exited(3)", "└ its first program exited with status 3"},
		{lifecycle.Stopped, lifecycle.Reason{Kind: lifecycle.ReasonOOM, Detail: "limit 2GiB"}, "▲ stopped · oom", "└ out of memory: limit 2GiB"},
		{lifecycle.Stopped, lifecycle.Reason{Kind: lifecycle.ReasonSignal, Signal: "KILL"}, "▲ stopped · signal(KILL)", "└ its first program was ended by signal KILL"},
		{lifecycle.Stopped, lifecycle.Reason{Kind: lifecycle.ReasonCrash}, "▲ stopped · crash", "└ it ended, and nobody saw how"},
		{lifecycle.Error, lifecycle.Reason{Kind: lifecycle.ReasonFailed, Detail: "no space"}, "✗ error", "└ no space"},
		{lifecycle.Started, lifecycle.Reason{Kind: lifecycle.ReasonOOM}, "● started", ""},
	} {
		m := newModel(t, 200, 24, api.Sandbox{ID: "1", Name: "a", State: c.state, Reason: &c.reason, Created: noon()})
		m.app.toggleDetail()
		m.see(c.row)
		if c.note == "" {
			m.gone("└")
		} else {
			m.see(c.note)
		}
	}
}

func TestProgressIsInTheRow(t *testing.T) {
	m := newModel(t, 80, 24)
	mirror := NewMirror(nil, func() time.Time { return m.now })
	b := api.Sandbox{ID: "1", Name: "a", State: lifecycle.Stopped, Created: noon().Add(-time.Hour)}
	mirror.take(api.Event{Type: api.EventSnapshot, Sandboxes: []api.Sandbox{b}})
	b.State, b.Progress = lifecycle.Starting, "setup 2/3: pip install ruff\x1b[2J"
	mirror.take(api.Event{Type: api.EventSandbox, Time: m.now, Sandbox: &b})
	m.send(mirrorMsg{snap: mirror.Snapshot()})
	m.see("└ setup 2/3: pip install ruff")
	m.now = m.now.Add(12 * time.Second)
	m.send(tickMsg{})
	l, _ := m.screen().Line("> a")
	require.Contains(t, l, "12s")
	// A snapshot does not say since when: what was seen stays, anything else
	// is not guessed.
	mirror.take(api.Event{Type: api.EventSnapshot, Sandboxes: []api.Sandbox{b, {ID: "2", Name: "b", State: lifecycle.Stopping}}})
	require.Equal(t, map[string]time.Time{"1": noon()}, mirror.Snapshot().Passing)
	b.State = lifecycle.Started
	mirror.take(api.Event{Type: api.EventSandbox, Time: m.now, Sandbox: &b})
	require.Empty(t, mirror.Snapshot().Passing)
}

// What leaves as the screen narrows, and that nothing comes when it narrows.
func TestColumnsLeaveFromTheRight(t *testing.T) {
	m := newModel(t, 300, 30, fleet(noon())...)
	m.app.detail.hidden = true
	m.measure(10)
	titles := []string{"LABELS", "IMAGE", "AGE", "PIDS", "NET IN/OUT", "IDLE", "PROFILE", "SINCE"}
	gone := make(map[string]bool)
	for w := 300; w >= minWidth; w -= 2 {
		m.send(tea.WindowSizeMsg{Width: w, Height: 30})
		_, y := m.screen().Line("NAME")
		line := m.screen().Lines[y]
		for _, title := range titles {
			has := strings.Contains(line, title)
			require.False(t, has && gone[title], "%s came back at %d", title, w)
			gone[title] = !has
		}
		for _, always := range []string{"NAME", "STATE", "CPU", "MEM"} {
			require.Contains(t, line, always, "at %d", w)
		}
	}
	for _, title := range titles {
		require.True(t, gone[title], "%s is there at %d", title, minWidth)
	}
}

func TestFilter(t *testing.T) {
	m := newModel(t, 80, 24, fleet(noon())...)
	m.measure(1)
	m.key("/")
	m.see("state:started  label:k=v")
	m.typed("state:sta")
	m.see(`there is no state "sta"; there are started, starting`)
	require.Equal(t, 7, m.app.list.Len(), "what is not understood hides nothing")
	m.key("enter") // and cannot be kept
	require.True(t, m.app.filter.editing())
	m.typed("rted")
	m.see("2 of 7")
	require.Equal(t, "fix-auth gen-docs", m.shown())
	m.key("down")
	m.see("> gen-docs")
	m.typed(" !gen")
	m.see("> fix-auth")
	m.key("enter")
	m.see("/state:started !gen  1 of 7")
	m.key("s") // keys are the list's again
	m.run()
	require.Equal(t, []string{"stop a1"}, m.fake.Calls())
	m.see("No sandbox is as the filter says.")
	m.key("s")
	m.see("start: no sandbox is selected")
	m.key("/", "ctrl+u")
	m.typed("prof:x")
	m.see(`there is no "prof"`)
	m.key("esc")
	require.Equal(t, 7, m.app.list.Len())
	m.gone("of 7")
	m.key("/")
	m.send(tea.PasteMsg{Content: "flaky\x1b[31m\n"})
	require.Equal(t, "flaky-ci", m.shown())
	m.key("enter", "esc", "esc") // the news, then the filter
	require.Equal(t, 7, m.app.list.Len())
}

func TestFilterOnASmallScreenIsSeen(t *testing.T) {
	m := newModel(t, 60, 8, fleet(noon())...)
	m.key("/")
	m.typed("docs")
	m.key("enter")
	m.see("/docs  1 of 7")
}

// The daemon goes and comes: everything that the person had set up is there
// when it is back, and nothing is shown as true meanwhile.
func TestDaemonGoneAndBack(t *testing.T) {
	m := newModel(t, 160, 30, fleet(noon())...)
	m.measure(20)
	m.key("/")
	m.typed("!spike")
	m.key("enter", "down", "down", "space", "up", "]", "o", "c")
	before := m.shown()
	was := m.app.selected().Name
	s := m.app.snap
	s.Link, s.Err, s.Tries = Down, errors.New("connection refused"), 3
	s.Since, s.Next = m.now, m.now.Add(3*time.Second)
	m.now = m.now.Add(time.Second)
	m.send(mirrorMsg{snap: s})
	m.see("the daemon is gone since 12:00:00 (1s) · try 3, next in 2s · shown as it was then · connection refused")
	m.see("daemon gone, reconnecting")
	l, _ := m.screen().Line("fix-auth  ")
	require.NotContains(t, l, "%")
	m.now = m.now.Add(time.Minute)
	m.send(tickMsg{})
	m.see("(1m)")
	require.Equal(t, before, m.shown(), "what was busy stays where it was")
	m.key("s")
	m.see("the daemon does not answer")
	m.fake.Put(api.Sandbox{ID: "b1", Name: "newcomer", State: lifecycle.Started, Created: m.now})
	m.sync()
	m.measure(1)
	m.gone("gone")
	require.Equal(t, was, m.app.selected().Name)
	m.see("1 marked")
	m.see("/!spike  7 of 8")
	m.see("newcomer")
	m.see("sorted by cpu")
	require.Equal(t, 1, m.app.detail.tab)
}

func TestStatisticsOnlyWhileTheyAreSeen(t *testing.T) {
	m := newModel(t, 80, 24, fleet(noon())...)
	require.True(t, m.app.feed.wanted)
	s := m.app.snap
	s.Link = Down
	m.send(mirrorMsg{snap: s})
	require.False(t, m.app.feed.wanted)
	m.sync()
	require.True(t, m.app.feed.wanted)
	m.app.attach = &attachment{gen: 1, id: "a1", name: "fix-auth", running: true, cancel: func() {}}
	m.app.watching()
	require.False(t, m.app.feed.wanted)
	m.send(detachedMsg{gen: 1})
	require.True(t, m.app.feed.wanted)
}

func TestNextUrgent(t *testing.T) {
	m := newModel(t, 80, 24, fleet(noon())...)
	m.key("w")
	m.see("> flaky-ci")
	m.key("w")
	m.see("> spike")
	m.key("w") // and from the top again
	m.see("> flaky-ci")
	m.fake.Remove("a4")
	m.fake.Remove("a6")
	m.sync()
	m.key("w")
	m.see("next urgent: nothing needs you")
}

// On a narrow screen the details cover the list, and every way out leads back
// to it and not out of the program.
func TestDetailsOverTheList(t *testing.T) {
	m := newModel(t, 80, 16, fleet(noon())...)
	m.measure(10)
	m.key("]")
	m.see("next tab: v shows the details first")
	for _, out := range []string{"esc", "q", "v", "tab", "d"} {
		m.key("esc", "esc", "v") // the news first
		m.see("Overview Spec History Activity")
		m.see("esc list  [ ] tabs")
		m.key(out)
		m.gone("Overview")
	}
	m.key("v", "]")
	m.see("[resources]")
	m.key("]")
	m.see("[15m]")
	m.key("]")
	m.see("Nothing has happened to it since you opened cove.")
	m.key("]")
	m.see("● started for 2h14m")
	m.key("end")
	m.see("cgroup    /cove/a1")
	m.gone("more below")
	m.key("home")
	m.see("● started for 2h14m")
	m.see("more below")
	m.send(tea.MouseWheelMsg{X: 1, Y: 5, Button: tea.MouseWheelDown})
	m.gone("● started for 2h14m")
	line, y := m.screen().Line("Overview Spec History Activity")
	m.send(tea.MouseClickMsg{X: strings.Index(line, "Activity") + 1, Y: y, Button: tea.MouseLeft})
	require.Equal(t, tabActivity, m.app.detail.tab)
	m.send(tea.MouseClickMsg{X: strings.Index(line, "Spec"), Y: y, Button: tea.MouseLeft})
	require.Equal(t, tabSpec, m.app.detail.tab)
	m.send(tea.MouseClickMsg{X: 2, Y: y, Button: tea.MouseLeft})
	require.Equal(t, tabSpec, m.app.detail.tab)
	m.send(tea.WindowSizeMsg{Width: 160, Height: 40}) // room for both
	m.see("> fix-auth")
	m.see("[resources]")
	m.key("j") // and moves are the list's
	m.see("> flaky-ci")
	m.send(tea.WindowSizeMsg{Width: 80, Height: 16})
	m.gone("> flaky-ci")
	m.see(" flaky-ci")
}

// Details are asked for when the selection rests, of what is selected, and only
// while they are seen.
func TestDetailsAreAskedForSparingly(t *testing.T) {
	m := newModel(t, 160, 30, fleet(noon())...)
	asked := func() int { return m.app.detail.gen }
	require.Equal(t, "a1", m.app.detail.about)
	n := asked()
	m.now = m.now.Add(time.Second)
	m.send(tickMsg{})
	require.Equal(t, n, asked(), "a moment later all is still true")
	m.now = m.now.Add(detailOld)
	m.send(tickMsg{})
	require.Equal(t, n+1, asked())
	m.fake.Put(api.Sandbox{ID: "a1", Name: "fix-auth", State: lifecycle.Stopping, Created: noon()})
	m.sync()
	require.Equal(t, n+2, asked(), "it changed")
	m.key("down")
	require.Equal(t, "a4", m.app.detail.about)
	// A late answer about another one is dropped.
	m.send(detailMsg{gen: asked() - 1, id: "a1", err: errors.New("too late")})
	m.gone("too late")
	m.key("v", "down", "down")
	require.Equal(t, "a4", m.app.detail.about)
	m.send(detailMsg{gen: asked(), id: "a4", err: errors.New("no such sandbox")})
	m.key("up", "up", "v")
	m.gone("no such sandbox")
}
