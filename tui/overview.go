package tui

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"cove/config"
	"cove/runtime/api"
	"cove/runtime/lifecycle"
	"cove/tui/meter"
	"cove/tui/plot"
	"cove/tui/text"
)

// overview says what there is to know of a sandbox at a glance; h is the height
// of the pane.
func (a *App) overview(p *page, b *api.Sandbox, h int) {
	th := p.th
	glyph, style := boxLook(b, th)
	state := style.Paint(glyph + " " + string(b.State))
	if s := since(b, a.snap.Passing, a.now); s != "" {
		if b.State.Passing() || b.State.Running() {
			s = "for " + s
		} else {
			s += " ago"
		}
		state += th.Muted.Paint(" " + s)
	}
	p.lines = append(p.lines, text.Cut(state, p.w, ""))
	if held(b) {
		p.plain(th.Warn, trouble(b))
	}
	if b.Progress != "" {
		p.plain(th.Busy, b.Progress)
	}
	if r := why(b); r != "" && !b.State.Running() {
		if attention(b) == calm {
			style = th.Muted
		}
		p.plain(style, r)
	}
	a.failurePart(p, b)
	for _, w := range a.host.own(b.Warnings) {
		p.plain(th.Warn, th.Glyphs.Look+" "+w)
	}
	if next := a.nextWords(b); next != "" {
		p.plain(th.Text, next)
	}
	if m := a.meters.Of(b.ID); m != nil && uses(b.State) {
		a.usagePart(p, m, h)
	} else if a.statsErr != nil && uses(b.State) {
		p.air()
		p.plain(th.Muted, "no statistics: "+a.statsErr.Error())
	}
	p.head("SANDBOX")
	p.row("profile", b.Profile)
	p.row("image", b.Image)
	p.row("id", b.ID)
	p.row("owner", "uid "+strconv.Itoa(b.Owner))
	p.row("made", b.Created.In(a.now.Location()).Format("2006-01-02 15:04")+", "+text.Age(a.now.Sub(b.Created))+" ago")
	p.row("labels", strings.Join(labels(b), "  "))
	d := &a.detail
	switch {
	case d.about == b.ID && d.got != nil:
		a.specPart(p, &d.got.Spec)
		a.runningPart(p, d.got)
	case d.about == b.ID && d.err != nil:
		p.air()
		p.plain(th.Bad, d.err.Error())
	}
}

// failurePart is what its build or its setup printed last, and what can be done.
func (a *App) failurePart(p *page, b *api.Sandbox) {
	d := &a.detail
	if d.about != b.ID || d.got == nil {
		return
	}
	now := api.Detail{Sandbox: *b, Spec: d.got.Spec}
	if !logTells(&now) {
		return
	}
	for _, l := range d.log {
		p.lines = append(p.lines, p.th.Border.Paint(p.th.Glyphs.Vertical+" ")+text.Cut(l, p.w-2, p.th.Glyphs.Ellipsis))
	}
	if b.State == lifecycle.BuildFailed {
		p.plain(p.th.Muted, "all that its build printed: cove logs "+b.Name)
		if a.opts.Builds != nil {
			p.plain(p.th.Muted, a.keyOf(actRebuild)+" builds it again")
		}
		return
	}
	p.plain(p.th.Muted, "what its setup printed: cove logs "+b.Name)
	p.plain(p.th.Muted, "to go in and mend it: cove start --skip-setup "+b.Name)
}

// graphHigh is the lines of a graph in a pane of h lines.
func graphHigh(h int) int { return max(1, min(h/12, 5)) }

// usagePart is what the sandbox uses, against its limits, and how that went.
func (a *App) usagePart(p *page, m *meter.Meter, h int) {
	th := p.th
	u := &m.Last
	fresh := a.fresh()
	num, graph := th.Text, th.Spark
	if !fresh {
		num, graph = th.Muted, th.Muted
	}
	plotted := func(values []float64, full float64) {
		if !fresh { // the seconds since are not known
			missed := int(a.now.Sub(a.meters.Seen()) / api.StatsInterval)
			for range min(missed, meter.Depth) {
				values = append(values, plot.Gap())
			}
		}
		for _, l := range plot.Graph(th.Glyphs.Levels, values, full, p.w, graphHigh(h)) {
			p.lines = append(p.lines, graph.Paint(l))
		}
	}
	p.head("USAGE")
	if !fresh {
		p.plain(th.Warn, "as it was "+text.Age(a.now.Sub(a.meters.Seen()))+" ago")
	}
	if !m.Lacks("cpu") {
		limit := "no limit"
		if u.CPULimit > 0 {
			limit = "limit " + cores(u.CPULimit)
		}
		values := m.CPUs(nil, p.w)
		full := cpuFull(values, u.CPULimit)
		p.styled("cpu", num, p.listed(text.Percent(m.CPU())+" of a core", limit, "graph to "+text.Percent(full)))
		plotted(values, full)
	}
	if !m.Lacks("memory") {
		limit := "no limit"
		if u.MemoryLimit > 0 {
			limit = text.Percent(share(float64(u.Memory), float64(u.MemoryLimit))) + " of " + text.Bytes(u.MemoryLimit)
		}
		peak := ""
		if u.MemoryPeak > 0 {
			peak = "peak " + text.Bytes(u.MemoryPeak)
		}
		swap := ""
		if u.Swap > 0 {
			swap = "swap " + text.Bytes(u.Swap)
		}
		values := m.Memories(nil, p.w)
		full := memoryFull(values, float64(u.MemoryLimit))
		p.styled("memory", num, p.listed(text.Bytes(u.Memory), limit, peak, swap, "graph to "+text.Bytes(int64(full))))
		plotted(values, full)
	}
	if !m.Lacks("pids") {
		limit := ""
		if u.PidsLimit > 0 {
			limit = " of " + strconv.FormatInt(u.PidsLimit, 10)
		}
		p.styled("processes", num, strconv.FormatInt(u.Pids, 10)+limit)
	}
	a.limitedUse(p, m, num)
	if !m.Lacks("net_rx") {
		p.styled("network", num, p.listed(fmt.Sprintf("in %s/s  out %s/s", text.Bytes(int64(u.NetRxRate)), text.Bytes(int64(u.NetTxRate))),
			fmt.Sprintf("all in %s out %s", text.Bytes(u.NetRx), text.Bytes(u.NetTx))))
	}
	if idle := a.now.Sub(u.Active); fresh && !u.Active.IsZero() && idle >= time.Minute {
		p.styled("idle", num, text.Age(idle.Truncate(time.Minute)))
	}
	if missing := untold(u); missing != "" {
		p.styled("unknown", th.Muted, "this host cannot tell "+missing)
	}
}

func cores(n float64) string {
	s := strconv.FormatFloat(n, 'f', -1, 64)
	if n == 1 {
		return s + " core"
	}
	return s + " cores"
}

// specPart is what the sandbox was made from, in few words.
func (a *App) specPart(p *page, s *config.Spec) {
	size := func(n config.Size) string {
		if n == 0 {
			return "no limit"
		}
		return text.Bytes(int64(n))
	}
	p.head("LIMITS")
	r := &s.Resources
	cpu := "no limit"
	if r.CPU > 0 {
		cpu = cores(r.CPU)
	}
	p.row("cpu", cpu)
	swap := "no swap"
	if r.Swap > 0 {
		swap = "swap " + text.Bytes(int64(r.Swap))
	}
	p.row("memory", p.list(size(r.Memory), swap))
	disk := size(r.Disk)
	if r.DiskReserve {
		disk += ", set aside"
	}
	p.row("disk", disk)
	if r.IORead > 0 || r.IOWrite > 0 {
		rate := func(n config.Size, verb string) string {
			if n == 0 {
				return verb + " without limit"
			}
			return verb + " " + text.Bytes(int64(n)) + "/s"
		}
		p.row("io", p.list(rate(r.IORead, "read"), rate(r.IOWrite, "write")))
	}
	if r.Pids > 0 {
		p.row("processes", strconv.FormatInt(r.Pids, 10))
	}
	if r.GPU.Count > 0 || len(r.GPU.IDs) > 0 {
		how := "alone"
		if r.GPUShared {
			how = "shared"
		}
		p.row("gpu", p.list(strconv.Itoa(max(r.GPU.Count, len(r.GPU.IDs))), how, strings.Join(r.GPU.IDs, " ")))
	}
	p.head("NETWORK")
	p.row("policy", policy(&s.Network))
	p.row("allowed", strings.Join(slices.Concat(s.Network.Allow, s.Network.Domains), "  "))
	p.row("denied", strings.Join(s.Network.Deny, "  "))
	if len(s.Network.HostPorts) > 0 {
		p.row("host", "ports "+strings.Trim(fmt.Sprint(s.Network.HostPorts), "[]")+" of this machine's loopback")
	}
	for _, port := range s.Ports {
		who := "private"
		if port.Public {
			who = "public"
		}
		p.row("port", strconv.Itoa(port.Port)+" "+who)
	}
	if len(s.Mounts)+len(s.Volumes) > 0 {
		p.head("FILES")
	}
	for _, m := range s.Mounts {
		p.row("mount", m.Target+"  from "+m.Source+"  ("+m.Mode+")")
		if m.Mode == config.MountCOW && a.opts.Changes != nil {
			p.styled(" ", p.th.Muted, a.keyOf(actChanges)+" shows what it changed there")
		}
	}
	for _, v := range s.Volumes {
		mode := "rw"
		if v.ReadOnly {
			mode = "ro"
		}
		p.row("volume", v.Target+"  from "+v.Name+"  ("+mode+")")
	}
	p.head("INSIDE")
	p.row("user", s.User)
	p.row("shell", strings.Join(s.Shell, " "))
	p.row("directory", s.Workdir)
	for _, k := range slices.Sorted(maps.Keys(s.Env)) {
		v := s.Env[k]
		if v.From != "" {
			p.styled("env", p.th.Muted, k+"  from the environment of who starts it")
			continue
		}
		p.row("env", k+"="+v.Value)
	}
	p.head("BY ITSELF")
	auto := &s.Automation
	for _, t := range []struct {
		name, words string
		d           config.Duration
		always      bool
	}{
		{"stops", "when idle for", auto.AutoStop, false}, {"pauses", "when idle for", auto.AutoPause, false},
		{"archives", "when stopped for", auto.AutoArchive, false}, {"deleted", "when stopped for", auto.AutoDelete, true},
		{"ends", "when older than", auto.TTL, false},
	} {
		switch {
		case t.d == config.Never, t.d == 0 && !t.always:
			p.styled(t.name, p.th.Muted, "never")
		case t.d == 0:
			p.row(t.name, "as soon as it stops")
		default:
			p.row(t.name, t.words+" "+t.d.String())
		}
	}
	if auto.AutoStop > 0 || auto.AutoPause > 0 {
		p.row("busy with", strings.Join(auto.Activity, ", "))
	}
	p.row("pre-stop", strings.Join(auto.PreStop, " "))
}

// policy is the network policy in a word or two.
func policy(n *config.Network) string {
	lan := ""
	if n.LAN {
		lan = ", and the local network"
	}
	switch {
	case n.BlockAll:
		return "no network"
	case len(n.Allow)+len(n.Domains) > 0:
		return "only what is allowed" + lan
	case n.Ask:
		return "asks you" + lan
	case n.LAN:
		return "open, the local network too"
	}
	return "open: the internet, not this machine or its network"
}

// runningPart is what exists of it only while it runs.
func (a *App) runningPart(p *page, d *api.Detail) {
	r := d.Running
	if r == nil || !d.State.Running() && d.State != lifecycle.Starting {
		return
	}
	p.head("SESSIONS")
	if len(r.Sessions) == 0 {
		p.plain(p.th.Muted, "none; "+a.keyOf(actAttach)+" opens one")
	}
	for _, s := range r.Sessions {
		clients := "nobody attached"
		switch {
		case s.Clients == 1:
			clients = "1 attached"
		case s.Clients > 1:
			clients = strconv.Itoa(s.Clients) + " attached"
		}
		p.row(s.Name, p.list(strings.Join(s.Command, " "), fmt.Sprintf("%dx%d", s.Cols, s.Rows), clients))
	}
	p.head("ON THIS MACHINE")
	p.row("pid", strconv.Itoa(r.Pid))
	p.row("root is", "uid "+strconv.FormatUint(uint64(r.UIDBase), 10))
	p.row("cgroup", r.Cgroup)
}

// specPage is the description it was made from, as a profile.
func (a *App) specPage(p *page) {
	d := &a.detail
	switch {
	case d.err != nil:
		p.plain(p.th.Bad, d.err.Error())
	case d.got == nil:
		p.plain(p.th.Muted, "asking the daemon"+p.th.Glyphs.Ellipsis)
	default:
		for line := range strings.SplitSeq(strings.TrimRight(d.spec, "\n"), "\n") {
			st := p.th.Text
			if strings.HasPrefix(line, "[") {
				st = p.th.Strong
			}
			if line == "" {
				p.air()
				continue
			}
			p.plain(st, line)
		}
	}
}

// activityMost is how many things that happened are in the pane; the activity
// of everything has them all.
const activityMost = 100

// activityPage is what happened to the sandbox since the interface was opened,
// the latest first.
func (a *App) activityPage(p *page, id string) {
	for _, e := range a.history.of(id, activityMost) {
		st := p.th.Text
		switch {
		case e.fault != "" || e.urgent:
			st = p.th.Bad
		case e.mine:
			st = p.th.Strong
		}
		words := e.what
		if e.mine && e.cli != "" {
			words = "$ " + e.cli
		}
		p.styled(e.at.In(a.now.Location()).Format("15:04:05"), st, words)
	}
	if len(p.lines) == 0 {
		p.plain(p.th.Muted, "Nothing has happened to it since you opened cove.")
	}
}
