package tui

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	tea "charm.land/bubbletea/v2"

	"cove/runtime/api"
	"cove/runtime/lifecycle"
	"cove/tui/internal/require"
	"cove/tui/meter"
	"cove/tui/text"
	"cove/tui/tuitest"
)

const heldWhy = "the host's disk is nearly full"

// limited is a host whose disk is nearly full, with two GPUs, and sandboxes that
// meet their limits.
func limited(t *testing.T, w, h int) *model {
	now := noon()
	started, stopped := now.Add(-time.Hour), now.Add(-10*time.Minute)
	m := newModel(t, w, h, []api.Sandbox{
		{ID: "b1", Name: "builder", State: lifecycle.Started, Profile: "go", Image: "host", Created: started, Started: &started, Held: heldWhy},
		{ID: "b2", Name: "trainer", State: lifecycle.Started, Profile: "cuda", Image: "host", Created: started, Started: &started, GPUs: []string{"nvidia.com/gpu=0"}},
		{ID: "b3", Name: "sleeper", State: lifecycle.Started, Profile: "claude", Image: "host", Created: started, Started: &started,
			Warnings: []string{"no soft limit", "resources.swap is not enforced: this kernel does not count swap for groups"}},
		{ID: "b4", Name: "yesterday", State: lifecycle.Stopped, Profile: "claude", Image: "host", Created: started, Stopped: &stopped,
			Reason: &lifecycle.Reason{Kind: lifecycle.ReasonIdle}, Due: &api.Due{Action: lifecycle.OpDelete, Key: "auto_delete", At: now.Add(20 * time.Minute)}},
	}...)
	m.fake.More = func(s *api.Stats) {
		s.Disk, s.CPUPressure = 3<<30, 0.02
		switch s.ID {
		case "b1":
			s.Disk, s.DiskLimit, s.IOPressure, s.IORead, s.IOWrite, s.IOWriteRate = 63<<20, 64<<20, 0.8, 5<<20, 1<<30, 2e6
			s.Due = &api.Due{Action: lifecycle.OpStop, Key: "auto_stop", At: m.now.Add(time.Minute)}
		case "b2":
			s.GPUs = []api.GPUUse{{ID: "nvidia.com/gpu=0", Utilization: 0.92, Memory: 71 << 30, MemoryTotal: 80 << 30}}
			s.CPUThrottled, s.MemoryPressure = float64(m.now.Unix()%1000)/2, 0.3
			s.Due = &api.Due{Action: lifecycle.OpStop, Key: "auto_stop", Busy: []string{"terminal", "cpu"}}
		case "b3":
			s.Due = &api.Due{Action: lifecycle.OpStop, Key: "auto_stop", At: noon().Add(252 * time.Second), Without: []string{"terminal", "exec", "cpu"}}
		}
	}
	m.measure(30)
	m.fake.SetHost(nearlyFull())
	m.send(m.app.askHost())
	m.app.notice.dismiss()
	return m
}

// nearlyFull is that host.
func nearlyFull() tuitest.Host {
	return tuitest.Host{
		Disk: &api.HostDisk{Total: 500 << 30, Free: 20 << 30, Reserve: 25 << 30, Low: true, Promised: 90 << 30},
		GPUs: []api.GPU{
			{ID: "nvidia.com/gpu=0", Index: 0, UUID: "GPU-8a1f", Vendor: "nvidia", Model: "NVIDIA H100", Source: "nvidia-ctk", Holders: []string{"trainer"}, Held: 1,
				Utilization: 0.92, Memory: 71 << 30, MemoryTotal: 80 << 30},
			{ID: "nvidia.com/gpu=1", Index: 1, Vendor: "nvidia", Source: "/etc/cdi/nvidia.yaml", Missing: []string{"utilization", "memory"}},
		},
		Warnings: []string{"no soft limit"},
	}
}

// What stands still although it is started is told in the row, on the line
// below, at the top, once as news, and in the activity.
func TestHeldIsSeen(t *testing.T) {
	b := api.Sandbox{ID: "1", Name: "writer", State: lifecycle.Started, Created: noon()}
	m := newModel(t, 120, 24, b, api.Sandbox{ID: "2", Name: "zz", State: lifecycle.Started, Created: noon()})
	m.fake.SetHost(nearlyFull())
	m.send(m.app.askHost())
	m.app.notice.dismiss()
	m.see("▲ disk low  ")
	b.Held = heldWhy + "\x1b[31m"
	m.fake.Put(b)
	m.sync()
	m.see("writer is held: " + heldWhy)
	m.key("esc")
	m.see("▲ disk low: 1 held")
	m.see("▲ held")
	m.send(tea.WindowSizeMsg{Width: 240, Height: 24})
	m.see("▲ started, held")
	m.see("└ held: " + heldWhy)
	m.see("writer is started, but held: " + heldWhy)
	m.key("G", "w")
	m.see("> writer")
	b.Held = ""
	m.fake.Put(b)
	m.sync()
	m.see("writer goes on: it is held no more")
	m.gone("started, held")
	m.key("a")
	m.gone("held no more") // the mirror of the tests has no history
}

// What comes next is told while it is known, and nothing where it is not.
func TestWhatComesNext(t *testing.T) {
	now := noon()
	b := api.Sandbox{ID: "1", Name: "a", State: lifecycle.Started, Created: now, Due: &api.Due{Action: lifecycle.OpStop, Key: "auto_stop", At: now.Add(time.Minute)}}
	m := newModel(t, 120, 40, b)
	m.app.detail.hidden = true
	m.app.resize(120, 40)
	var due *api.Due
	m.fake.More = func(s *api.Stats) { s.Due = due }
	row := func() string { l, _ := m.screen().Line("> a "); return l }
	m.gone("NEXT") // an event is not about now
	for _, c := range []struct {
		due         *api.Due
		cell, words string
	}{
		{nil, "", ""},
		{&api.Due{Action: lifecycle.OpStop, Key: "auto_stop", At: now.Add(252 * time.Second), Without: []string{"terminal", "exec", "cpu"}}, "stop 4m", "stops in 4m12s: no terminal, exec, cpu"},
		{&api.Due{Action: lifecycle.OpPause, Key: "auto_pause", At: now.Add(9 * time.Second), Without: []string{"cpu"}}, "pause 9s", "pauses in 9s: no cpu"},
		{&api.Due{Action: lifecycle.OpStop, Key: "ttl", At: now.Add(59 * time.Minute)}, "stop 59m", "stops in 59m: ttl"},
		{&api.Due{Action: lifecycle.OpStop, Key: "auto_stop", At: now.Add(-time.Second)}, "stop 0s", "stops now: auto_stop"},
		{&api.Due{Action: lifecycle.OpDelete, Key: "ttl", At: now.Add(30 * time.Hour)}, "", "deleted in 1d6h: ttl"},
		{&api.Due{Action: lifecycle.OpStop, Key: "auto_stop", Busy: []string{"terminal", "cpu"}}, "", "stops when idle; now: terminal, cpu"},
	} {
		due = c.due
		m.measure(1)
		if c.cell == "" {
			m.gone("NEXT")
		} else {
			require.Contains(t, row(), c.cell)
		}
		if c.words != "" {
			m.see(" a · " + c.words)
		}
	}
	due = &api.Due{Action: lifecycle.OpStop, Key: "auto_stop", At: now.Add(4 * time.Minute)}
	m.measure(1)
	require.Contains(t, row(), "stop 4m")
	m.now = m.now.Add(meter.Fresh + time.Second)
	m.send(tickMsg{})
	m.gone("stop 4m") // old numbers say nothing about now
	m.gone("stops in")
	b.State, b.Due = lifecycle.Stopped, &api.Due{Action: lifecycle.OpArchive, Key: "auto_archive", At: m.now.Add(6 * time.Minute)}
	m.fake.Put(b)
	m.sync()
	require.Contains(t, row(), "archive 6m") // nothing changes that without an event
	m.see("archived in 6m: auto_archive")
	s := m.app.snap
	s.Link, s.Err = Down, errors.New("gone")
	m.send(mirrorMsg{snap: s})
	m.gone("archive 6m")
}

func TestLeft(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0s", 0: "0s", 400 * time.Millisecond: "0s", 42 * time.Second: "42s", time.Minute: "1m", 252 * time.Second: "4m12s",
		59*time.Minute + 59*time.Second + 600*time.Millisecond: "1h", 65 * time.Minute: "1h5m", 147 * time.Hour: "6d3h",
	} {
		require.Equal(t, want, text.Left(d), d.String())
	}
}

// What waits is marked, and the mark is explained.
func TestWaits(t *testing.T) {
	m := newModel(t, 120, 24, api.Sandbox{ID: "1", Name: "a", State: lifecycle.Started, Created: noon()})
	m.app.toggleDetail()
	var st api.Stats
	m.fake.More = func(s *api.Stats) {
		s.CPUPressure, s.MemoryPressure, s.IOPressure, s.CPUThrottled = st.CPUPressure, st.MemoryPressure, st.IOPressure, st.CPUThrottled
	}
	row := func() string { l, _ := m.screen().Line("> a "); return l }
	m.measure(3)
	m.gone("WAIT")
	st = api.Stats{CPUPressure: 0.09, MemoryPressure: 0.5, IOPressure: 0.1}
	m.measure(1)
	m.see("WAIT")
	require.Contains(t, row(), " mi ")
	st = api.Stats{}
	for range 6 { // kept back for half of each second
		st.CPUThrottled += 0.5
		m.now = m.now.Add(time.Second)
		m.measure(1)
	}
	require.Contains(t, row(), " c ")
	m.key("v")
	m.see("throttled ")
	st.CPUThrottled = 0 // started anew
	m.now = m.now.Add(time.Second)
	m.measure(1)
	m.gone("WAIT")
	m.key("?")
	m.typed("WAIT")
	m.see("c the processor or their limit")
}

// Disk and GPU have columns where somebody has some.
func TestDiskAndGPUColumns(t *testing.T) {
	m := newModel(t, 160, 24, api.Sandbox{ID: "1", Name: "a", State: lifecycle.Started, Created: noon()}, api.Sandbox{ID: "2", Name: "b", State: lifecycle.Started, Created: noon()})
	m.app.toggleDetail()
	m.measure(1)
	m.gone("DISK")
	m.gone("GPU")
	m.fake.More = func(s *api.Stats) {
		if s.ID == "1" {
			s.Disk, s.DiskLimit = 62<<20, 64<<20
			s.GPUs = []api.GPUUse{{ID: "x=0", Utilization: 1}, {ID: "x=1", Utilization: 0.5}}
		} else {
			s.Disk, s.Missing = 5<<30, []string{"disk"}
			s.GPUs = []api.GPUUse{{ID: "x=2", Missing: []string{"utilization", "memory"}}}
		}
	}
	m.measure(1)
	row := func(name string) string { l, _ := m.screen().Line(" " + name + " "); return l }
	require.Contains(t, row("a"), "2:75%    62M/64M")
	require.NotContains(t, row("b"), "5G")
	require.Contains(t, row("b"), "  1 ")
	m.key("v")
	m.see("62M · 97% of 64M")
	m.see("x=0 · 100% busy")
}

// A host's warning is told once, in passing, and stands on its page: it is not
// below every sandbox of that host.
func TestHostWarningsAreToldOnce(t *testing.T) {
	const lacks = "cgroup v1 (hybrid): there is no pressure information"
	own := "resources.cpu is not enforced: this host gives cove no cpu controller"
	m := newModel(t, 120, 40, api.Sandbox{ID: "1", Name: "a", State: lifecycle.Started, Created: noon(), Warnings: []string{lacks}},
		api.Sandbox{ID: "2", Name: "b", State: lifecycle.Started, Created: noon(), Warnings: []string{own, lacks}})
	m.fake.SetHost(tuitest.Host{Warnings: []string{own, lacks}})
	m.send(m.app.askHost())
	m.see("this host: resources.cpu")
	m.key("esc")
	m.send(m.app.askHost())
	m.gone("this host")
	m.gone(lacks)
	m.key("down")
	m.see("b: " + own)
	m.gone(lacks)
	m.key("H")
	m.see(lacks)
	m.key("esc")
	m.gone(lacks)
}

func TestHostPage(t *testing.T) {
	m := limited(t, 120, 50)
	m.key("7")
	for _, s := range []string{"20G of 500G · reserve 25G", "90G could still be written under the quotas, more than there is", "NVIDIA H100 · nvidia.com/gpu=0 · GPU-8a1f",
		"92% busy · 71G/80G", "held by trainer", "free", "what it does cannot be told here"} {
		m.see(s)
	}
	h := nearlyFull()
	h.GPUs[0].Holders, h.GPUs[0].Held, h.GPUs[0].Shared = nil, 2, true
	h.GPUs[1].Holders, h.GPUs[1].Held = []string{"a", "b"}, 3
	h.Disk = &api.HostDisk{Total: 500 << 30, Free: 100 << 30, Reserve: 25 << 30, Promised: 1 << 30}
	m.fake.SetHost(h)
	m.send(m.app.askHost())
	m.see("held by somebody else's sandbox, who share it")
	m.see("held by a, b and 1 of others")
	m.see("1G could still be written under the quotas ")
	m.gone("more than there is")
	m.gone("disk low")
	m.key("esc")
	m.see("gpu 2/2  disk 100G free")
	m.fake.SetDown(true)
	m.send(m.app.askHost())
	m.gone("gpu 2/2")
}

// The form asks for GPUs where there are some, and tells how many are free.
func TestFormAsksForGPUs(t *testing.T) {
	m := newModel(t, 120, 40)
	m.key("n")
	m.run()
	m.gone("  GPU  ")
	m.key("esc")
	m.fake.SetHost(nearlyFull())
	m.send(m.app.askHost())
	m.key("n")
	m.run()
	m.key("tab", "tab", "tab", "tab", "tab", "tab")
	m.see("a quota, such as 10GiB; 0: none; 0 to be had")
	m.key("tab")
	m.see("> GPU        none")
	m.see("how many, or which: 0,1; 1 of 2 free")
	m.typed("2")
	m.see("only 1 of 2 free now")
	m.see("--gpu 2")
	m.key("backspace")
	m.typed("0,")
	m.gone("only 1 of 2")
	m.see("--gpu 0,")
	m.typed(",")
	m.see("has an empty name in it")
}

// The daemon is asked about its machine only while somebody looks.
func TestHostIsAskedOnlyWhileItIsSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel(t, 80, 24, fleet(noon())...)
		asks := func() bool { // or waits
			_, asked := hostDueMsg{}.deliver(m.app)().(hostMsg)
			return asked
		}
		require.True(t, asks())
		m.app.attach = &attachment{running: true}
		require.False(t, asks())
		m.app.attach = nil
		require.True(t, asks())
		s := m.app.snap
		s.Link, s.Err = Down, errors.New("gone")
		m.send(mirrorMsg{snap: s})
		require.False(t, asks())
	})
}
