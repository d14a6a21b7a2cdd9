package main

import (
	"fmt"
	"time"

	"cove/config"
	"cove/runtime/api"
)

// states is snapshots and forks of a sandbox that holds 1 GiB, stopped, with a disk of
// its own and without, and running.
func (k *bench) states() {
	b, c, ctx, r := k.b, k.c, k.ctx, k.r
	r.in("states of 1 GiB")
	quota := k.spec
	quota.Resources.Disk = 2 * config.GiB
	for _, kind := range []struct {
		name string
		spec config.Spec
	}{{"directory", k.spec}, {"disk quota", quota}} {
		if _, err := c.Create(ctx, api.CreateRequest{Name: "gib", Spec: kind.spec}); err != nil {
			b.Fatal(err)
		}
		if err := execAPI(ctx, c, "gib", "sh", "-c", "head -c 1G /dev/zero >~/big && sync ~/big"); err != nil {
			b.Fatal(err)
		}
		var snaps, forks, starts []time.Duration
		var frozen, copied []float64
		for i := range 5 {
			if _, err := c.Stop(ctx, "gib", api.StopRequest{}); err != nil {
				b.Fatal(err)
			}
			if _, err := c.Leaks(ctx); err != nil { // which waits for what is written behind a stop
				b.Fatal(err)
			}
			snaps = append(snaps, timed(b, func() error { _, err := c.Snapshot(ctx, "gib", api.SnapshotRequest{}); return err }))
			if _, err := c.Start(ctx, "gib", api.StartRequest{}); err != nil {
				b.Fatal(err)
			}
			if err := execAPI(ctx, c, "gib", "sh", "-c", fmt.Sprintf("echo %d >~/f%d", i, i)); err != nil {
				b.Fatal(err)
			}
			if _, err := c.Stop(ctx, "gib", api.StopRequest{}); err != nil {
				b.Fatal(err)
			}
			if _, err := c.Leaks(ctx); err != nil {
				b.Fatal(err)
			}
			var f api.ForkResult
			forks = append(forks, timed(b, func() (err error) { f, err = c.Fork(ctx, "gib", api.ForkRequest{}); return err }))
			if len(f.Errors) > 0 {
				b.Fatal(f.Errors[0].Message)
			}
			if _, err := c.Delete(ctx, f.Sandboxes[0].Name, true); err != nil {
				b.Fatal(err)
			}
			starts = append(starts, timed(b, func() error { _, err := c.Start(ctx, "gib", api.StartRequest{}); return err }))
			if err := execAPI(ctx, c, "gib", "sh", "-c", "head -c 16M /dev/zero >~/more"); err != nil {
				b.Fatal(err)
			}
			s, err := c.Snapshot(ctx, "gib", api.SnapshotRequest{})
			if err != nil {
				b.Fatal(err)
			}
			frozen, copied = append(frozen, s.Frozen*1000), append(copied, float64(s.Copied)/(1<<20))
		}
		r.times("snapshot of a stopped one, "+kind.name, snaps).within(50)
		start := r.times("start of it, "+kind.name, starts)
		// What is beyond a start is the taking.
		fork := r.times("fork of a stopped one, started, "+kind.name, forks)
		fork.budget(fork.over(start), 50, "+50 ms")
		r.add("running, stood still, "+kind.name, millis, frozen)
		r.add("running, copied, "+kind.name, mebi, copied)
		if _, err := c.Delete(ctx, "gib", true); err != nil {
			b.Fatal(err)
		}
		list, err := c.Snapshots(ctx)
		if err != nil {
			b.Fatal(err)
		}
		for _, s := range list {
			if _, err := c.RemoveSnapshot(ctx, s.ID); err != nil {
				b.Fatal(err)
			}
		}
	}
}
