package tui

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"cove/config"
	"cove/runtime/api"
	"cove/runtime/lifecycle"
	"cove/tui/attach"
	"cove/tui/theme"
	"cove/tui/tuitest"
)

// FuzzApp sends keys, sizes, clicks, events and answers in any order, and
// checks after each what holds of every frame: exactly as many lines as the
// screen has, none too wide, the cursor inside, the selection a real row. No
// sequence of keys may panic.
func FuzzApp(f *testing.F) {
	f.Add(uint64(1), 200)
	f.Add(uint64(2), 200)
	f.Add(uint64(3), 400)
	f.Fuzz(func(t *testing.T, seed uint64, steps int) {
		r := rand.New(rand.NewPCG(seed, 7))
		m := newModel(t, 80, 24, fleet(noon())...)
		for range max(0, min(steps, 500)) {
			m.step(r)
			m.check()
		}
	})
}

// keys of the fuzz test: those that mean something, more often than others.
const fuzzKeys = "n n N s r D R R T Z H + e a 2 3 4 i c c S f b P A ? q k j g G y x 1 - ] [ V * p t m L / / o O v d c > : ! = 日"

var errLong = errors.New(strings.Repeat("a long error of 日本 with \x1b[31mcolour\x07 and\nlines ", 20))

func (m *model) step(r *rand.Rand) {
	keys := append(strings.Fields(fuzzKeys), "space", "space", "ctrl+e", "enter", "esc", "tab", "up", "down", "left", "right", "home", "end", "pgup", "pgdown",
		"backspace", "delete", "shift+tab", "ctrl+y", "ctrl+o", "ctrl+]", "ctrl+z", "ctrl+w", "ctrl+u", "ctrl+d")
	states := lifecycle.States()
	switch r.IntN(18) {
	case 15:
		m.run()
	case 16:
		m.fake.SetHost(tuitest.Host{Warnings: []string{randomText(r)}, GPUs: []api.GPU{{ID: randomText(r), Index: r.IntN(9), Model: randomText(r), Held: r.IntN(3), Holders: []string{randomText(r)}}},
			Disk: &api.HostDisk{Total: r.Int64(), Free: r.Int64(), Reserve: r.Int64(), Low: r.IntN(2) == 0, Promised: r.Int64()}})
		m.send(m.app.askHost())
		m.fake.SetStores(randomStores(r))
	case 1:
		m.send(tea.WindowSizeMsg{Width: r.IntN(320), Height: r.IntN(110)})
	case 2:
		m.send(tea.WindowSizeMsg{Width: 38 + r.IntN(50), Height: 6 + r.IntN(20)})
	case 3:
		b := api.Sandbox{ID: fmt.Sprint(r.IntN(80)), Name: randomText(r), State: states[r.IntN(len(states))], Profile: randomText(r),
			Image: randomText(r), Created: m.now.Add(-time.Duration(r.Int64N(1 << 52))), Labels: map[string]string{randomText(r): randomText(r)}}
		if r.IntN(4) == 0 {
			b.Progress = randomText(r)
		}
		if r.IntN(3) == 0 {
			b.Held, b.GPUs, b.Warnings = randomText(r), []string{randomText(r)}, []string{randomText(r)}
			b.Due = randomDue(r, m.now)
		}
		if r.IntN(2) == 0 {
			b.Reason = &lifecycle.Reason{Kind: lifecycle.ReasonFailed, Detail: randomText(r) + "\n\x1b[31m" + randomText(r)}
		}
		m.fake.Put(b)
		m.sync()
	case 4:
		if n := len(m.app.snap.Sandboxes); n > 0 {
			m.fake.Remove(m.app.snap.Sandboxes[r.IntN(n)].ID)
			m.sync()
		}
	case 5:
		m.send(tea.MouseClickMsg{X: r.IntN(200), Y: r.IntN(60), Button: tea.MouseLeft})
	case 6:
		m.send(tea.MouseWheelMsg{X: 1, Y: 5, Button: []tea.MouseButton{tea.MouseWheelUp, tea.MouseWheelDown}[r.IntN(2)]})
	case 7:
		m.now = m.now.Add(time.Duration(r.Int64N(int64(time.Hour))))
		m.send(tickMsg{})
	case 8:
		s := m.app.snap
		s.Link, s.Err, s.Known = Link(r.IntN(3)), errLong, r.IntN(4) > 0
		s.Since, s.Next, s.Tries = m.now.Add(-time.Hour), m.now.Add(time.Second), r.IntN(100)
		if !s.Known {
			s.Sandboxes = nil
		}
		m.send(mirrorMsg{snap: s})
	case 9:
		m.send(tea.PasteMsg{Content: randomText(r)})
	case 10:
		m.app.restyle(func(o *theme.Options) {
			*o = theme.Options{ASCII: r.IntN(2) == 0, Light: r.IntN(2) == 0, NoColor: r.IntN(2) == 0}
		})
	case 11:
		switch r.IntN(4) {
		case 0:
			m.send(doneMsg{id: "a1", name: "fix-auth", verb: "stop", err: errLong})
		case 1:
			if f := m.app.form; f != nil && f.busy != nil {
				m.send(createdMsg{form: m.app.form, work: &work{verb: "create", what: "x"}, profile: "shell", err: errLong})
			}
		case 2:
			m.send(joinedMsg{gen: m.app.joins, err: errLong})
		case 3:
			m.send(detachedMsg{gen: m.app.joins, res: attach.Result{How: attach.Lost, Err: errLong, Rest: []byte("\x1b[Ajx\x1b")}})
		}
	case 13:
		m.fake.Load = func(string, int) (float64, int64) { return r.ExpFloat64() * float64(r.IntN(100)), r.Int64N(1 << 40) }
		m.fake.More = func(s *api.Stats) {
			if r.IntN(2) == 0 {
				s.Disk, s.DiskLimit, s.IORead, s.Due = r.Int64(), r.Int64N(2)*r.Int64(), r.Int64(), randomDue(r, m.now)
				s.CPUPressure, s.MemoryPressure, s.CPUThrottled = r.Float64(), r.Float64(), r.ExpFloat64()*1000
				s.GPUs = []api.GPUUse{{ID: randomText(r), Utilization: r.Float64()}, {ID: "x", Missing: []string{"utilization", "memory"}}}
				s.Missing = []string{[]string{"disk", "io_read", "cpu_pressure", randomText(r)}[r.IntN(4)]}
			}
		}
		m.measure(1 + r.IntN(20))
	case 14:
		m.send(statsMsg{err: errLong})
	case 12:
		ps, err := profiles().List(m.t.Context())
		if r.IntN(3) == 0 {
			ps, err = nil, errLong
		}
		if m.app.form == nil {
			return
		}
		m.send(profilesMsg{form: m.app.form, profiles: ps, err: err})
	default:
		m.key(keys[r.IntN(len(keys))])
	}
}

func randomText(r *rand.Rand) string {
	alphabet := []string{"a", "b", "-", "7", "日", "é", "🇩🇪", "👩‍🚀", "\u202e", "\x1b", "\t", "\n", "\xff", " ", "e\u0301"}
	var b strings.Builder
	for range r.IntN(60) {
		b.WriteString(alphabet[r.IntN(len(alphabet))])
	}
	return b.String()
}

func randomDue(r *rand.Rand, now time.Time) *api.Due {
	d := &api.Due{Action: []lifecycle.Operation{lifecycle.OpStop, lifecycle.OpDelete, lifecycle.Operation(randomText(r))}[r.IntN(3)], Key: randomText(r)}
	if r.IntN(3) > 0 {
		d.At = now.Add(time.Duration(r.Int64N(int64(time.Hour))) - time.Minute)
	}
	if r.IntN(2) == 0 {
		d.Busy, d.Without, d.Error = []string{randomText(r)}, []string{randomText(r)}, randomText(r)
	}
	return d
}

// randomStores is what a daemon keeps, of any content.
func randomStores(r *rand.Rand) tuitest.Stores {
	t := func() string { return randomText(r) }
	s := tuitest.Stores{Diffs: map[string]string{}, Log: []string{t(), t()}, Pulls: []api.Progress{{Text: t(), Done: r.Int64(), Total: r.Int64()}}}
	for range r.IntN(20) {
		s.Images = append(s.Images, api.Image{ID: t(), Ref: t(), Platform: t(), Size: r.Int64(), Layers: r.IntN(200), Used: []string{t(), t()}})
		s.Snapshots = append(s.Snapshots, api.Snapshot{ID: fmt.Sprint(r.IntN(9)), Parent: fmt.Sprint(r.IntN(9)), Name: t(), Sandbox: t(), Image: t(), Size: r.Int64(), Used: []string{t()}, Frozen: r.ExpFloat64()})
		s.Volumes = append(s.Volumes, api.Volume{Name: t(), Quota: config.Size(r.Int64()), Used: r.Int64() - 1<<60, Sandboxes: []string{t(), "fix-auth"}})
	}
	kinds := []string{api.ChangeAdded, api.ChangeModified, api.ChangeDeleted, api.ChangeMode, api.ChangeType, t()}
	for range r.IntN(3) {
		set := api.ChangeSet{Source: t(), Target: t()}
		for range r.IntN(20) {
			c := api.FileChange{Path: t(), Kind: kinds[r.IntN(len(kinds))], Type: []string{"file", "dir", "link", t()}[r.IntN(4)], OldType: "file", Mode: t(), OldMode: t(), Link: t(),
				Size: r.Int64(), Binary: r.IntN(4) == 0, Added: r.IntN(99999), Removed: r.IntN(99999)}
			if r.IntN(3) == 0 {
				c.Conflict, c.Flags = t(), []string{"git", t()}
			}
			s.Diffs[c.Path] = "@@\n+" + strings.Repeat(t()+"\n-", r.IntN(60))
			set.Changes = append(set.Changes, c)
		}
		s.Sets = append(s.Sets, set)
	}
	return s
}
