package tui

import (
	"slices"
	"strings"
	"time"

	"cove/runtime/api"
	"cove/tui/meter"
	"cove/tui/text"
	"cove/tui/theme"
)

// limitedUse is what the sandbox uses beside processor, memory and network, and
// what it waits for.
func (a *App) limitedUse(p *page, m *meter.Meter, num theme.Style) {
	u := &m.Last
	if (u.Disk > 0 || u.DiskLimit > 0) && !m.Lacks("disk") {
		limit := "no quota"
		style := num
		if u.DiskLimit > 0 {
			full := share(float64(u.Disk), float64(u.DiskLimit))
			limit = text.Percent(full) + " of " + text.Bytes(u.DiskLimit)
			if s := level(p.th, full); s != p.th.Text && a.fresh() {
				style = s
			}
		}
		p.styled("disk", style, p.list(text.Bytes(u.Disk), limit))
	}
	if u.IORead+u.IOWrite > 0 && !m.Lacks("io_read") {
		p.styled("io", num, p.listed("read "+text.Bytes(int64(u.IOReadRate))+"/s  write "+text.Bytes(int64(u.IOWriteRate))+"/s",
			"all read "+text.Bytes(u.IORead)+" written "+text.Bytes(u.IOWrite)))
	}
	for i, g := range u.GPUs {
		name := ""
		if i == 0 {
			name = "gpu"
		}
		p.styled(name, num, p.list(g.ID, gpuUse(p.th, g)))
	}
	a.waitUse(p, m, num)
}

// waitUse is for how much of the time the sandbox waits, and for what.
func (a *App) waitUse(p *page, m *meter.Meter, num theme.Style) {
	var waits []string
	for _, w := range []struct {
		name, field string
		part        float64
	}{{"cpu", "cpu_pressure", m.Last.CPUPressure}, {"memory", "memory_pressure", m.Last.MemoryPressure}, {"disks", "io_pressure", m.Last.IOPressure}} {
		if !m.Lacks(w.field) {
			waits = append(waits, w.name+" "+text.Percent(w.part))
		}
	}
	if a.fresh() && m.Waits() != "" {
		num = p.th.Warn
	}
	// A newer daemon tells each of these or says that it cannot; an older one
	// knows of none.
	if sum := m.Last.CPUPressure + m.Last.MemoryPressure + m.Last.IOPressure; len(waits) > 0 && sum > 0 {
		p.styled("waits for", num, p.list(waits...)+" of the time")
	}
	if m.Last.CPUThrottled > 0 && !m.Lacks("cpu_throttled") {
		p.styled("throttled", num, p.listed(text.Percent(m.Throttled())+" of the time now", text.Left(seconds(m.Last.CPUThrottled))+" in all"))
	}
}

// untold names what the host cannot tell in few words: no rate beside its sum,
// and pressure once. What a sandbox without a quota has on the disk nobody counts.
func untold(u *api.Stats) string {
	var words []string
	for _, f := range u.Missing {
		if f == "disk" && u.DiskLimit == 0 {
			continue
		}
		f = strings.TrimSuffix(f, "_rate")
		switch {
		case strings.HasSuffix(f, "_pressure"):
			f = "pressure"
		case strings.HasPrefix(f, "io_"):
			f = "io"
		}
		if f = text.Clean(f); !slices.Contains(words, f) {
			words = append(words, f)
		}
	}
	return strings.Join(words, ", ")
}

// seconds is a number of seconds as a duration.
func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
