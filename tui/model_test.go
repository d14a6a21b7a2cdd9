package tui

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"github.com/google/go-cmp/cmp"

	"cove/config"
	"cove/runtime/api"
	"cove/runtime/lifecycle"
	"cove/tui/internal/require"
	"cove/tui/theme"
	"cove/tui/tuitest"
)

// noon is when the tests of the model take place.
func noon() time.Time { return time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC) }

// model is an App without a program around it: messages go in by hand, and
// commands are run when the test says so.
type model struct {
	t    testing.TB
	app  *App
	now  time.Time
	fake *tuitest.Fake
	cmds []tea.Cmd
	// asked is the last question for details that was answered, samples how
	// many statistics came.
	asked, askedPast, samples int
}

func specText(s config.Spec) string {
	return fmt.Sprintf("image = %q\n\n[resources]\ncpu = %v\nmemory = %q\n", s.Image, s.Resources.CPU, s.Resources.Memory)
}

func newModel(t testing.TB, w, h int, boxes ...api.Sandbox) *model {
	t.Helper()
	m := &model{t: t, now: noon()}
	clock := func() time.Time { return m.now }
	m.fake = tuitest.NewFake(clock, boxes...)
	app, err := New(context.Background(), Options{
		Backend: m.fake, Images: m.fake, Snapshots: m.fake, Volumes: m.fake, Builds: m.fake, Changes: m.fake, Profiles: profiles(), ValidName: config.ValidName, Clock: clock,
		Environ: []string{"TERM=xterm-256color"}, Sort: byName, SpecText: specText,
	})
	require.NoError(t, err)
	m.app = app
	app.soon = time.Millisecond
	m.send(tea.WindowSizeMsg{Width: w, Height: h})
	m.sync()
	return m
}

// sync brings the model to what the fake daemon knows.
func (m *model) sync() {
	s := Snapshot{Link: Live, Known: true}
	mirror := NewMirror(m.fake, func() time.Time { return m.now })
	_ = m.fake.Watch(m.t.Context(), api.Cursor{}, func(e api.Event) error {
		mirror.take(e)
		return errors.New("enough")
	})
	s.Sandboxes = mirror.Snapshot().Sandboxes
	m.send(mirrorMsg{snap: s})
}

// measure brings n samples, a second apart, the last one now.
func (m *model) measure(n int) {
	for i := range n {
		r := m.fake.Report(m.samples)
		m.samples++
		back := time.Duration(n-1-i) * time.Second
		m.now = m.now.Add(-back)
		m.send(statsMsg{reports: []api.StatsReport{r}})
		m.now = m.now.Add(back)
	}
}

func (m *model) send(msg tea.Msg) {
	_, cmd := m.app.Update(msg)
	if gen := m.app.detail.gen; m.app.detail.asking && gen != m.asked {
		m.asked = gen
		if ask := (detailDueMsg{gen: gen}).deliver(m.app); ask != nil {
			m.send(ask())
		}
	}
	if gen := m.app.past.gen; m.app.past.asking && gen != m.askedPast {
		m.askedPast = gen
		if ask := (pastDueMsg{gen: gen}).deliver(m.app); ask != nil {
			m.send(ask())
		}
	}
	// The next wait for the mirror and for the clock are not for tests.
	switch msg.(type) {
	case mirrorMsg, tickMsg, statsMsg, hostMsg, hostDueMsg:
		return
	}
	if cmd != nil {
		m.cmds = append(m.cmds, cmd)
	}
}

// run runs the commands that were returned, and what follows from them.
func (m *model) run() {
	for len(m.cmds) > 0 {
		cmd := m.cmds[0]
		m.cmds = m.cmds[1:]
		switch msg := cmd().(type) {
		case tea.BatchMsg:
			for _, c := range msg {
				if c != nil {
					m.cmds = append(m.cmds, c)
				}
			}
		case nil:
		default:
			m.send(msg)
		}
	}
	m.sync()
}

// runUntil runs commands until ok holds.
func (m *model) runUntil(ok func() bool) {
	m.t.Helper()
	for !ok() {
		if len(m.cmds) == 0 {
			m.t.Fatal("nothing is under way anymore")
		}
		cmd := m.cmds[0]
		m.cmds = m.cmds[1:]
		switch msg := cmd().(type) {
		case tea.BatchMsg:
			m.cmds = append(m.cmds, msg...)
		case nil:
		default:
			m.send(msg)
		}
		m.sync()
	}
}

// key presses keys: their names, or single letters.
func (m *model) key(names ...string) {
	special := map[string]rune{"enter": tea.KeyEnter, "esc": tea.KeyEscape, "tab": tea.KeyTab, "up": tea.KeyUp, "down": tea.KeyDown,
		"left": tea.KeyLeft, "right": tea.KeyRight, "home": tea.KeyHome, "end": tea.KeyEnd, "pgup": tea.KeyPgUp, "pgdown": tea.KeyPgDown,
		"backspace": tea.KeyBackspace, "delete": tea.KeyDelete, "space": tea.KeySpace}
	for _, n := range names {
		k := tea.KeyPressMsg{}
		rest, ctrl := strings.CutPrefix(n, "ctrl+")
		rest, alt := strings.CutPrefix(rest, "alt+")
		rest, shift := strings.CutPrefix(rest, "shift+")
		switch code, ok := special[rest]; {
		case ok:
			k.Code = code
			if n == "space" {
				k.Text = " "
			}
		case ctrl:
			k.Code = []rune(rest)[0]
		default:
			k.Code, k.Text = []rune(n)[0], n
		}
		if ctrl {
			k.Mod = tea.ModCtrl
		}
		if alt {
			k.Mod = tea.ModAlt
		}
		if shift {
			k.Mod = tea.ModShift
		}
		m.send(k)
	}
}

func (m *model) typed(s string) {
	for _, r := range s {
		m.key(string(r))
	}
}

func (m *model) screen() tuitest.Screen {
	m.t.Helper()
	m.check()
	return tuitest.Draw(m.app.View().Content, m.app.w, m.app.h)
}

func (m *model) see(text string) {
	m.t.Helper()
	if s := m.screen(); !s.Has(text) {
		m.t.Fatalf("%q is not on\n%s", text, s.Text())
	}
}

func (m *model) gone(text string) {
	m.t.Helper()
	if s := m.screen(); s.Has(text) {
		m.t.Fatalf("%q is on\n%s", text, s.Text())
	}
}

// check checks what holds of every frame.
func (m *model) check() {
	m.t.Helper()
	v := m.app.View()
	if m.app.w < 1 || m.app.h < 1 {
		if v.Content != "" {
			m.t.Fatalf("%q on no screen", v.Content)
		}
		return
	}
	lines := strings.Split(v.Content, "\n")
	if len(lines) != m.app.h {
		m.t.Fatalf("%d lines on a screen of %d", len(lines), m.app.h)
	}
	for _, l := range lines {
		if n := ansi.StringWidth(l); n > m.app.w {
			m.t.Fatalf("a line of %d cells on a screen of %d: %q", n, m.app.w, l)
		}
	}
	if c := v.Cursor; c != nil && (c.X < 0 || c.Y < 0 || c.X >= m.app.w || c.Y >= m.app.h) {
		m.t.Fatalf("the cursor is at %d,%d on a screen of %dx%d", c.X, c.Y, m.app.w, m.app.h)
	}
	if n := m.app.list.Len(); n > 0 && m.app.selected() == nil {
		m.t.Fatalf("nothing is selected of %d", n)
	}
}

// update writes the golden files anew: go test ./tui -update.
var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
		return
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err, "run: go test ./tui -update")
	if d := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); d != "" {
		t.Errorf("%s is not as in %s (-want +got); go test ./tui -update writes it anew\n%s", name, path, d)
	}
}

// views are the screens whose looks are kept in golden files.
func views() map[string]func(*testing.T, int, int) *model {
	with := func(do func(*model)) func(*testing.T, int, int) *model {
		return func(t *testing.T, w, h int) *model {
			m := newModel(t, w, h, fleet(noon())...)
			m.fake.Load = tuitest.Wave
			m.measure(30)
			do(m)
			return m
		}
	}
	return map[string]func(*testing.T, int, int) *model{
		"list":    with(func(m *model) { m.key("down") }),
		"crowd":   func(t *testing.T, w, h int) *model { return newModel(t, w, h, crowd(noon(), 1000)...) },
		"empty":   func(t *testing.T, w, h int) *model { return newModel(t, w, h) },
		"create":  with(func(m *model) { m.key("n"); m.run() }),
		"filled":  with(fillForm),
		"history": with(func(m *model) { m.key("s"); m.run(); m.key("a") }),
		"failures": with(func(m *model) {
			m.key("s")
			m.run()
			m.send(doneMsg{id: "a3", name: "old-demo", verb: "start", err: errors.New("mount the root: overlay: permission denied\nlast lines of the log:\n  one")})
			m.app.history.link(errors.New("dial unix /run/cove/cove.sock: connection refused"))
			m.app.history.link(nil)
			m.app.history.sandbox(m.now, api.Sandbox{Name: "flaky-ci", State: lifecycle.Starting}, true, fleet(m.now)[3])
			m.key("a")
		}),
		"busy": with(func(m *model) {
			m.key("n")
			m.run()
			m.key("tab")
			m.typed("takes-long")
			m.key("enter")
			b := api.Sandbox{ID: m.app.form.busy.id, Name: "takes-long", State: lifecycle.Creating, Progress: "setup 2/3: pip install ruff", Created: m.now}
			m.fake.Put(b)
			m.sync()
			m.now = m.now.Add(3 * time.Second)
			m.send(tickMsg{})
		}),
		"leave": with(func(m *model) { m.key("n"); m.run(); m.key("tab", "x", "esc") }),
		"found": with(func(m *model) { m.key("?"); m.typed("stop") }),
		"refused": with(func(m *model) {
			m.fake.RefuseCreate = func(string) error {
				return &api.Error{Code: api.CodeExhausted, Message: "there is no space left on the disk of /var/lib/cove", Hint: "cove rm what you do not need"}
			}
			m.key("n")
			m.run()
			m.key("tab")
			m.typed("x1")
			m.key("enter")
			m.run()
		}),
		"delete": with(func(m *model) { m.key("D") }),
		"details": with(func(m *model) {
			if m.app.w < sideFrom {
				m.key("v")
			}
		}),
		"spec":     with(func(m *model) { m.app.detail.full = true; m.app.resize(m.app.w, m.app.h); m.key("]"); m.sync() }),
		"marked":   with(func(m *model) { m.key("*", "space", "o", "c") }),
		"question": with(func(m *model) { m.key("*", "D") }),
		"filter":   with(func(m *model) { m.key("/"); m.typed("!state:stopped cpu>") }),
		"images": with(func(m *model) {
			m.fake.SetStores(kept(noon()))
			m.key("2")
			m.run()
			m.key("p")
			m.typed("ghcr.io/me/tool:1")
			m.key("enter")
			m.cmds = nil // it goes on
			pullingMsg{m.app.pulls[0], api.Progress{Text: "pulling 3 layers", Done: 12 << 20, Total: 40 << 20}}.deliver(m.app)
			m.key("down")
		}),
		"snapshots": with(func(m *model) { m.fake.SetStores(kept(noon())); m.key("3"); m.run(); m.key("down", "down") }),
		"volumes":   with(func(m *model) { m.fake.SetStores(kept(noon())); m.key("4"); m.run() }),
		"attach": with(func(m *model) {
			m.fake.SetStores(kept(noon()))
			m.key("4")
			m.run()
			m.key("a", "tab")
			m.typed("data")
		}),
		"fork":     with(func(m *model) { m.key("f", "tab"); m.typed("3") }),
		"snapshot": with(func(m *model) { m.key("S") }),
		"changes": with(func(m *model) {
			m.fake.SetStores(kept(noon()))
			m.key("c")
			m.run()
			m.key("space", "down", "down", "down", "down")
			m.run()
		}),
		"diff": with(func(m *model) {
			m.fake.SetStores(kept(noon()))
			m.key("c")
			m.run()
			m.key("G", "k")
			m.run()
			m.key("enter", "pgdown")
		}),
		"apply": with(func(m *model) { m.fake.SetStores(kept(noon())); m.key("c"); m.run(); m.key("*", "a") }),
		"build failed": func(t *testing.T, w, h int) *model {
			m := newModel(t, w, h, api.Sandbox{ID: "a1", Name: "tools", State: lifecycle.BuildFailed, Profile: "python", Image: "host", Created: noon(),
				Reason: &lifecycle.Reason{Kind: lifecycle.ReasonFailed, Detail: "step 2/3: pip install ruff==99: exit status 1"}},
				api.Sandbox{ID: "a2", Name: "web", State: lifecycle.BuildingSnapshot, Profile: "node", Image: "host", Created: noon(), Progress: "step 2/5: npm ci"},
				api.Sandbox{ID: "a3", Name: "web-2", State: lifecycle.PendingBuild, Profile: "node", Image: "host", Created: noon(), Progress: "waits for 1 other build"})
			m.fake.SetStores(kept(noon()))
			if m.app.w < sideFrom {
				m.key("v")
			}
			m.key("j", "k")
			m.run()
			return m
		},
		"limits": limited,
		"limits detail": func(t *testing.T, w, h int) *model {
			m := limited(t, w, h)
			if m.app.w < sideFrom {
				m.key("v")
			}
			return m
		},
		"past": func(t *testing.T, w, h int) *model {
			m := limited(t, w, h)
			if m.app.w < sideFrom {
				m.key("v")
			}
			m.key("down", "down", "]", "]", "-")
			return m
		},
		"resize": func(t *testing.T, w, h int) *model {
			m := limited(t, w, h)
			m.fake.RefuseResize = func(api.ResizeRequest) error {
				return &api.Error{Code: api.CodeConflict, Message: "builder: 99MiB of memory are in use: 48MiB cannot be the limit", Hint: "stop it first"}
			}
			m.key("R")
			m.run()
			m.key("tab")
			m.typed("48MiB")
			m.key("enter")
			m.run()
			return m
		},
		"automation": func(t *testing.T, w, h int) *model {
			m := limited(t, w, h)
			m.key("Z")
			m.run()
			m.typed("30m")
			m.key("tab", "tab", "tab")
			m.typed("7days")
			return m
		},
		"host":   func(t *testing.T, w, h int) *model { m := limited(t, w, h); m.key("H"); return m },
		"sort":   with(func(m *model) { m.key("o") }),
		"labels": with(func(m *model) { m.key("L"); m.typed("team=ml old-") }),
		"strange": func(t *testing.T, w, h int) *model {
			m := newModel(t, w, h, strange(noon())...)
			m.measure(10)
			return m
		},
		"help": with(func(m *model) { m.key("?") }),
		"error": with(func(m *model) {
			m.send(doneMsg{id: "a3", name: "old-demo", verb: "start", err: errors.New("start: mount the root: overlay: the kernel refused it: permission denied\nlast lines of the log:\n  one\n  two")})
			m.key("e")
		}),
		"notice": with(func(m *model) {
			m.send(doneMsg{id: "a3", name: "old-demo", verb: "start", err: errors.New("start: mount the root: overlay: permission denied")})
		}),
		"gone": with(func(m *model) {
			s := m.app.snap
			s.Link, s.Err, s.Since, s.Next, s.Tries = Down, errors.New("dial unix /run/cove/cove.sock: connection refused"), m.now.Add(-90*time.Second), m.now.Add(4*time.Second), 21
			m.send(mirrorMsg{snap: s})
			m.key("s")
		}),
		"never": func(t *testing.T, w, h int) *model {
			m := newModel(t, w, h)
			m.send(mirrorMsg{snap: Snapshot{Link: Down, Err: errors.New("dial unix /run/cove/cove.sock: connect: no such file or directory")}})
			return m
		},
	}
}

func TestScreens(t *testing.T) {
	for name, make := range views() {
		t.Run(name, func(t *testing.T) {
			var b strings.Builder
			for _, size := range [][2]int{{40, 8}, {80, 24}, {120, 40}, {200, 60}, {300, 100}} {
				s := make(t, size[0], size[1]).screen()
				fmt.Fprintf(&b, "== %dx%d\n%s\n", size[0], size[1], strings.TrimRight(s.Text(), "\n"))
			}
			for _, look := range []struct {
				name string
				o    theme.Options
			}{{"dark", theme.Options{}}, {"light", theme.Options{Light: true}}, {"NO_COLOR", theme.Options{NoColor: true}}} {
				m := make(t, 80, 24)
				m.app.restyle(func(o *theme.Options) { *o = look.o })
				fmt.Fprintf(&b, "== looks on %s\n%s", look.name, m.screen().Styles())
			}
			golden(t, name, b.String())
		})
	}
}

func TestASCIIOnly(t *testing.T) {
	for name, make := range views() {
		if name == "strange" {
			continue // names are what they are
		}
		m := make(t, 80, 24)
		m.app.restyle(func(o *theme.Options) { o.ASCII = true })
		for _, l := range m.screen().Lines {
			for _, r := range l {
				require.AtMost(t, r, '~', "%s: %q in %q", name, r, l)
			}
		}
	}
}

// heavy are screens that cost the most to draw, each of a thousand sandboxes
// at 200x60.
func heavy() map[string]func(*model) {
	return map[string]func(*model){
		"list":   func(*model) {},
		"marked": func(m *model) { m.key("*") },
		"filter": func(m *model) { m.key("/"); m.typed("!state:stopped cpu>=0 box") },
		"activity": func(m *model) {
			for i := range 2 * historyMost {
				m.app.history.add(entry{at: m.now, id: "c0000", what: fmt.Sprint("box-0000: something ", i)})
			}
			m.key("[")
		},
		"question": func(m *model) { m.key("*", "D") },
		"gone": func(m *model) {
			s := m.app.snap
			s.Link, s.Err, s.Since = Down, errors.New("connection refused"), m.now
			m.send(mirrorMsg{snap: s})
		},
	}
}

// A frame costs less than a millisecond; the test allows for a machine that
// is busy with other things.
func TestViewIsFast(t *testing.T) {
	for name, do := range heavy() {
		m := newModel(t, 200, 60, crowd(noon(), 1000)...)
		m.fake.Load = tuitest.Wave
		m.measure(20)
		do(m)
		const frames = 4
		best := time.Hour
		for range 40 { // one of them is not interrupted
			begin := time.Now()
			for range frames {
				_ = m.app.View()
			}
			best = min(best, time.Since(begin)/frames)
		}
		t.Logf("View of %s, 1000 rows at 200x60: %s", name, best)
		require.AtMost(t, best, 5*time.Millisecond, name)
	}
}

// What comes once a second, or with every event, must not be felt by who types.
func TestUpdateIsFast(t *testing.T) {
	m := newModel(t, 200, 60, crowd(noon(), 1000)...)
	m.fake.Load = tuitest.Wave
	m.measure(20)
	m.key("o", "c", "/")
	m.typed("box")
	r := statsMsg{reports: []api.StatsReport{m.fake.Report(21)}}
	snap := m.app.snap
	for name, msg := range map[string]tea.Msg{"samples": r, "events": mirrorMsg{snap: snap}, "a key": tea.KeyPressMsg{Code: tea.KeyDown}} {
		best := time.Hour
		for range 10 {
			begin := time.Now()
			_, _ = m.app.Update(msg)
			best = min(best, time.Since(begin))
		}
		t.Logf("Update for %s, 1000 rows: %s", name, best)
		require.AtMost(t, best, 30*time.Millisecond, name)
	}
}

func BenchmarkView(b *testing.B) {
	m := newModel(b, 200, 60, crowd(noon(), 1000)...)
	b.ReportAllocs()
	for b.Loop() {
		_ = m.app.View()
	}
}

func BenchmarkUpdateOfAThousand(b *testing.B) {
	m := newModel(b, 200, 60, crowd(noon(), 1000)...)
	s := m.app.snap
	b.ReportAllocs()
	for b.Loop() {
		_, _ = m.app.Update(mirrorMsg{snap: s})
	}
}
