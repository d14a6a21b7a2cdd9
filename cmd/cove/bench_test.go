package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"cove/config"
	"cove/runtime/api"
	"cove/runtime/frame"
)

// benchRounds is how many times each thing is timed; its median counts.
const benchRounds = 30

// BenchmarkBudgets times what the design sets budgets for, cove and its peers
// by turns in one run on one machine, so that the ratios hold where the machine
// is slow or others use it. It prints a table and writes bench.json beside the
// binaries (COVE_BENCH_JSON: elsewhere); the benchmark's own figure means
// nothing. A budget that is not met fails nothing: on a machine that others use
// it may say more about them.
func BenchmarkBudgets(b *testing.B) {
	h := benchHost(b)
	h.must("daemon", "start")
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	r := &report{b: b}
	k := &bench{b: b, h: h, r: r, ctx: ctx, c: api.New(filepath.Join(h.run, "cove.sock"))}
	k.spec = benchSpec(b, h)
	for _, part := range []func(){k.oneByOne, k.states, k.cow, k.echo, k.many, k.screen} {
		part()
		r.print()
	}
	r.write()
}

// bench is one run.
type bench struct {
	b    *testing.B
	h    *host
	r    *report
	ctx  context.Context
	c    *api.Client
	spec config.Spec
}

// oneByOne is the life of one sandbox at a time.
func (k *bench) oneByOne() {
	b, c, ctx := k.b, k.c, k.ctx
	p := newPeers(b, k.h, k.spec)
	defer p.close()
	open := k.spec
	open.Network.BlockAll = false
	quota := k.spec
	quota.Resources.Disk = config.GiB
	var openErr error

	var runs, creates, opens, quotas, stops, starts, deletes, execs, clis, forks, runcExecs []time.Duration
	peerRuns := make([][]time.Duration, len(p.others))
	for i := range benchRounds {
		runs = append(runs, timed(b, func() error { return p.runc.run(ctx) }))
		for j := range p.others {
			if o := &p.others[j]; o.skipped == "" {
				peerRuns[j] = append(peerRuns[j], o.timed(ctx))
			}
		}
		name := fmt.Sprintf("b%d", i)
		creates = append(creates, timed(b, func() error { return k.createAndRun(name, k.spec) }))
		if openErr == nil {
			begin := time.Now()
			openErr = k.createAndRun("o"+name, open)
			opens = append(opens, time.Since(begin))
			if _, err := c.Delete(ctx, "o"+name, true); openErr == nil && err != nil {
				b.Fatal(err)
			}
		}
		quotas = append(quotas, timed(b, func() error { return k.createAndRun("q"+name, quota) }))
		if _, err := c.Delete(ctx, "q"+name, true); err != nil {
			b.Fatal(err)
		}
		for range 3 {
			execs = append(execs, timed(b, func() error { return execAPI(ctx, c, name, "true") }))
			forks = append(forks, timed(b, func() error { return exec.CommandContext(ctx, "/bin/true").Run() }))
		}
		clis = append(clis, timed(b, func() error { return k.h.direct(ctx, "exec", name, "--", "true").Run() }))
		runcExecs = append(runcExecs, timed(b, func() error { return p.runc.exec(ctx) }))

		conn, err := c.Exec(ctx, name, api.ExecRequest{Argv: []string{"sleep", "1000"}})
		if err != nil {
			b.Fatal(err)
		}
		stops = append(stops, timed(b, func() error { _, err := c.Stop(ctx, name, api.StopRequest{}); return err }))
		_ = conn.Close()
		starts = append(starts, timed(b, func() error {
			if _, err := c.Start(ctx, name, api.StartRequest{}); err != nil {
				return err
			}
			return execAPI(ctx, c, name, "true")
		}))
		deletes = append(deletes, timed(b, func() error { _, err := c.Delete(ctx, name, true); return err }))
	}

	r := k.r
	r.in("create")
	runc := r.times("runc run true, the same bundle", runs)
	for j, o := range p.others {
		if o.skipped != "" {
			r.skip(o.name, o.skipped)
			continue
		}
		r.times(o.name, peerRuns[j]).ratio(runc)
	}
	create := r.times("create, first command done: block_all", creates)
	create.budget(create.ratio(runc), 1.5, "1.5 x")
	if openErr != nil {
		r.skip("create, first command done: open network", openErr.Error())
	} else {
		f := r.times("create, first command done: open network", opens)
		f.budget(f.ratio(runc), 1.5, "1.5 x")
	}
	disk := r.times("create, first command done: disk quota", quotas)
	disk.budget(disk.over(create), 15, "+15 ms")
	start := r.times("start of a stopped one, first command done", starts)
	start.ratio(runc)

	r.in("exec")
	fork := r.times("fork + exec true, on the host", forks)
	api := r.times("exec true, API", execs)
	api.budget(api.over(fork), 1, "+1 ms")
	r.times("exec true, cove exec", clis).over(fork)
	r.times("runc exec true", runcExecs).over(fork)

	r.in("end")
	r.times("stop of sleep", stops).within(20)
	r.times("delete, started", deletes).within(20)
}

// createAndRun makes a sandbox and runs its first command.
func (k *bench) createAndRun(name string, spec config.Spec) error {
	if _, err := k.c.Create(k.ctx, api.CreateRequest{Name: name, Spec: spec}); err != nil {
		return err
	}
	return execAPI(k.ctx, k.c, name, "true")
}

// benchHost is a cove whose run directory is where it belongs, on a tmpfs, and
// whose state directory is on this machine's disk. runc's records are on the
// tmpfs too, for both.
func benchHost(b *testing.B) *host {
	b.Helper()
	if os.Geteuid() != 0 {
		b.Skip("real sandboxes need root")
	}
	bin := binDir(b)
	state, err := os.MkdirTemp("", "cove-bench-")
	if err != nil {
		b.Fatal(err)
	}
	base, err := os.MkdirTemp("/dev/shm", "cove-bench-")
	if err != nil {
		b.Fatal(err)
	}
	if err := os.Chmod(base, 0o711); err != nil {
		b.Fatal(err)
	}
	h := hostAt(b, bin, base, filepath.Join(state, "state"))
	b.Cleanup(func() {
		h.leave()
		for _, d := range []string{base, state} {
			if err := os.RemoveAll(d); err != nil {
				b.Errorf("remove the benchmark's directory: %v", err)
			}
		}
	})
	return h
}

// direct is cove as a plain child of this process, without a program before it
// that would be timed too. Clients need only the socket, which is in no network
// namespace.
func (h *host) direct(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(h.bin, "cove"), args...)
	cmd.Env, cmd.Dir = h.env, filepath.Dir(h.run)
	return cmd
}

func execAPI(ctx context.Context, c *api.Client, name string, argv ...string) error {
	conn, err := c.Exec(ctx, name, api.ExecRequest{Argv: argv})
	if err != nil {
		return err
	}
	defer conn.Close()
	exit, err := conn.Pump(frame.Streams{})
	if err == nil && exit.Code != 0 {
		err = fmt.Errorf("exit status %d: %s", exit.Code, exit.Error)
	}
	return err
}

// benchSpec is the built-in profile shell, as the program resolves it, without
// a network.
func benchSpec(b *testing.B, h *host) config.Spec {
	b.Helper()
	h.must("create", "-p", "shell", "-n", "spec", "--block-all")
	d := h.inspect("spec")
	h.must("rm", "spec")
	if !d.Spec.Network.BlockAll {
		b.Fatal(errors.New("--block-all did not take the network away"))
	}
	return d.Spec
}
