package main

import (
	"fmt"
	"time"

	"cove/runtime/api"
)

// The crowd of the benchmark: so many are created at once, twice.
const benchCrowd = 100

// many is what a crowd of sandboxes takes, and what they do to the daemon.
func (k *bench) many() {
	b, r, c, ctx := k.b, k.r, k.c, k.ctx
	r.in("many at once")
	alone := r.times("daemon killed and started, no sandbox", k.restarts())
	pid := k.h.pid()
	daemonBefore, freeBefore := kib(b, fmt.Sprintf("/proc/%d/status", pid), "VmRSS"), kib(b, "/proc/meminfo", "MemAvailable")
	var names []string
	for round := range 2 {
		var batch []string
		for i := range benchCrowd {
			batch = append(batch, fmt.Sprintf("m%d-%d", round, i))
		}
		names = append(names, batch...)
		cpu, runc := cpuOf(b, pid), childrenOf(b, pid)
		wall := timed(b, func() error { return together(batch, func(name string) error { return k.createAndRun(name, k.spec) }) })
		what := fmt.Sprintf("%d created at once, first command done", benchCrowd)
		if round > 0 {
			what += fmt.Sprintf(", beside %d", benchCrowd)
		}
		r.one(what, millis, ms(wall)).Against = fmt.Sprintf("%.1f ms each", ms(wall)/benchCrowd)
		r.one("  the daemon's processor time, each", millis, ms(cpuOf(b, pid)-cpu)/benchCrowd)
		r.one("  runc's processor time, each", millis, ms(childrenOf(b, pid)-runc)/benchCrowd)
	}
	var pss []float64
	list, err := c.List(ctx, api.ListOptions{})
	if err != nil {
		b.Fatal(err)
	}
	for _, s := range list {
		d, err := c.Get(ctx, s.ID)
		if err != nil || d.Running == nil {
			b.Fatal(d, err)
		}
		pss = append(pss, kib(b, fmt.Sprintf("/proc/%d/smaps_rollup", d.Running.Pid), "Pss")/1024)
	}
	daemonAfter := kib(b, fmt.Sprintf("/proc/%d/status", pid), "VmRSS")
	r.add("PSS of a sandbox's PID 1", mebi, pss)
	r.one("the daemon's RSS", mebi, daemonAfter/1024)
	r.one("  its growth, each", mebi, (daemonAfter-daemonBefore)/1024/float64(len(names)))
	each := median(pss) + (daemonAfter-daemonBefore)/1024/float64(len(names))
	r.one("RSS each: PID 1 and its part of the daemon", mebi, each).within(4)
	r.one("all memory that the machine has less, each", mebi, (freeBefore-kib(b, "/proc/meminfo", "MemAvailable"))/1024/float64(len(names)))

	r.in(fmt.Sprintf("with %d running", len(names)))
	var lists, clis []time.Duration
	for range benchRounds {
		lists = append(lists, timed(b, func() error { _, err := c.List(ctx, api.ListOptions{}); return err }))
		clis = append(clis, timed(b, func() error { return k.h.direct(ctx, "ls").Run() }))
	}
	r.times("list, API", lists)
	r.times("cove ls", clis)
	const idle = 5 * time.Second
	r.one("idle daemon", percent, k.share(pid, func() error { return k.pass(idle) })).within(1)
	r.one("statistics at 1 Hz", percent, k.share(pid, func() error { return k.follow(10) })).within(2)

	adopted := k.restarts()
	if list, err = c.List(ctx, api.ListOptions{}); err != nil || len(list) != len(names) {
		b.Fatalf("%d adopted, %v", len(list), err)
	}
	for _, s := range list {
		if s.State != "started" {
			b.Errorf("%s is %s after the daemon's restart", s.Name, s.State)
		}
	}
	all := r.times("daemon killed, started, all adopted", adopted)
	all.over(alone)
	// The budget is for a thousand; each takes the same.
	thousand := alone.Median + 1000*(all.Median-alone.Median)/float64(len(names))
	r.one("  as many as 1000, by these two", millis, thousand).within(2000)
	wall := timed(b, func() error {
		return together(names, func(name string) error { _, err := c.Delete(ctx, name, true); return err })
	})
	r.one(fmt.Sprintf("%d deleted at once", len(names)), millis, ms(wall)).Against = fmt.Sprintf("%.1f ms each", ms(wall)/float64(len(names)))
}

// restarts kills the daemon and starts another, three times.
func (k *bench) restarts() []time.Duration {
	var took []time.Duration
	for range 3 {
		k.h.kill()
		took = append(took, timed(k.b, func() error { k.h.must("daemon", "start"); return nil }))
	}
	return took
}

// share is the part of a core that a process has used while f ran.
func (k *bench) share(pid int, f func() error) float64 {
	cpu := cpuOf(k.b, pid)
	took := timed(k.b, f)
	return 100 * float64(cpuOf(k.b, pid)-cpu) / float64(took)
}

// pass lets time pass.
func (k *bench) pass(d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-k.ctx.Done():
		return k.ctx.Err()
	}
}

// follow takes n samples of statistics, one a second.
func (k *bench) follow(n int) error {
	s, err := k.c.FollowStats(k.ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	for range n + 1 {
		if _, err := s.Next(); err != nil {
			return err
		}
	}
	return nil
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
