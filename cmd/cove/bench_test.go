package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cove/config"
	"cove/runtime/api"
	"cove/runtime/frame"
	"cove/runtime/mount"
	"cove/runtime/network"
	"cove/runtime/oci"
	"cove/runtime/rootfs"
)

// benchRounds is how many times each thing is timed; its median counts.
const benchRounds = 30

// BenchmarkBudget times what the design sets budgets for, cove and runc by
// turns in one run on one machine, so that the ratios hold where the machine
// is slow. It prints one table; the benchmark's own figure means nothing.
func BenchmarkBudget(b *testing.B) {
	h := benchHost(b)
	h.must("daemon", "start")
	c := api.New(filepath.Join(h.run, "cove.sock"))
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()

	spec := benchSpec(b, h)
	baseline := newBaseline(b, h, spec)
	defer baseline.close()

	var rows []row
	var runs, creates, stops, deletes, execs, forks []time.Duration
	for i := range benchRounds {
		runs = append(runs, timed(b, func() error { return baseline.run(ctx) }))

		name := fmt.Sprintf("b%d", i)
		creates = append(creates, timed(b, func() error {
			if _, err := c.Create(ctx, api.CreateRequest{Name: name, Spec: spec}); err != nil {
				return err
			}
			return execAPI(ctx, c, name, "true")
		}))
		for range 3 {
			execs = append(execs, timed(b, func() error { return execAPI(ctx, c, name, "true") }))
			forks = append(forks, timed(b, func() error { return exec.CommandContext(ctx, "/bin/true").Run() }))
		}
		conn, err := c.Exec(ctx, name, api.ExecRequest{Argv: []string{"sleep", "1000"}})
		if err != nil {
			b.Fatal(err)
		}
		stops = append(stops, timed(b, func() error { _, err := c.Stop(ctx, name, api.StopRequest{}); return err }))
		_ = conn.Close()
		if _, err := c.Start(ctx, name, api.StartRequest{}); err != nil {
			b.Fatal(err)
		}
		deletes = append(deletes, timed(b, func() error { _, err := c.Delete(ctx, name, true); return err }))
	}
	run, fork := median(runs), median(forks)
	rows = append(rows,
		row{"runc run true, the same bundle", runs, ""},
		row{"create -> first command done, cold", creates, ratio(median(creates), run, 1.5)},
		row{"fork + exec of true, here", forks, ""},
		row{"exec true, through the API", execs, over(median(execs)-fork, time.Millisecond, "fork + exec + 1 ms")},
		row{"stop of sleep", stops, over(median(stops), 20*time.Millisecond, "20 ms")},
		row{"delete, started", deletes, over(median(deletes), 20*time.Millisecond, "20 ms")},
	)
	table(b, rows)
	b.ReportMetric(float64(median(creates))/float64(run), "create/runc")
	b.ReportMetric(float64(median(execs))/float64(time.Millisecond), "exec-ms")
	b.ReportMetric(float64(median(stops))/float64(time.Millisecond), "stop-ms")
	b.ReportMetric(float64(median(deletes))/float64(time.Millisecond), "delete-ms")
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
	h.net = nil // nsenter's time is not ours
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

type row struct {
	what   string
	times  []time.Duration
	budget string
}

func table(b *testing.B, rows []row) {
	var out strings.Builder
	fmt.Fprintf(&out, "\n%-40s %9s %9s %9s  %s\n", "what", "min", "median", "p90", "against its budget")
	for _, r := range rows {
		slices.Sort(r.times)
		fmt.Fprintf(&out, "%-40s %9s %9s %9s  %s\n", r.what, ms(r.times[0]), ms(median(r.times)), ms(r.times[len(r.times)*9/10]), r.budget)
	}
	b.Log(out.String())
}

func ms(d time.Duration) string { return fmt.Sprintf("%.2f ms", float64(d)/float64(time.Millisecond)) }

func ratio(got, base time.Duration, budget float64) string {
	return fmt.Sprintf("%.2f x (budget %.1f x)", float64(got)/float64(base), budget)
}

func over(got, budget time.Duration, text string) string {
	if got <= budget {
		return "within " + text
	}
	return fmt.Sprintf("%s over %s", ms(got-budget), text)
}

func median(d []time.Duration) time.Duration {
	s := slices.Clone(d)
	slices.Sort(s)
	return s[len(s)/2]
}

func timed(b *testing.B, f func() error) time.Duration {
	b.Helper()
	begin := time.Now()
	if err := f(); err != nil {
		b.Fatal(err)
	}
	return time.Since(begin)
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

// benchSpec is the built-in profile shell, as the program resolves it.
func benchSpec(b *testing.B, h *host) config.Spec {
	b.Helper()
	h.must("create", "-p", "shell", "-n", "spec")
	d := h.inspect("spec")
	h.must("rm", "spec")
	return d.Spec
}

// baseline is the bundle that cove makes, run by runc alone.
type baseline struct {
	runc, root, bundle string
	unmount            func()
	n                  int
}

func newBaseline(b *testing.B, h *host, spec config.Spec) *baseline {
	b.Helper()
	// This goroutine, and so runc, gets a mount namespace of its own.
	if err := mount.EnterPrivateNamespace(); err != nil {
		b.Fatal(err)
	}
	dir := filepath.Join(filepath.Dir(h.run), "baseline")
	r := &baseline{runc: filepath.Join(h.bin, "runc"), root: filepath.Join(dir, "runc"), bundle: filepath.Join(dir, "bundle")}
	target := filepath.Join(r.bundle, "rootfs")
	box := filepath.Join(h.state, "sandboxes", ".new-000000000000")
	for _, d := range []string{dir, r.root, r.bundle, target, box} {
		if err := os.MkdirAll(d, 0o711); err != nil {
			b.Fatal(err)
		}
	}
	ctx := context.Background()
	maps := mount.NewIDMaps(1)
	driver, err := rootfs.New(ctx, rootfs.Options{StateDir: h.state, RunDir: dir, IDMaps: maps})
	if err != nil {
		b.Fatal(err)
	}
	if err := driver.Prepare(ctx); err != nil {
		b.Fatal(err)
	}
	if err := rootfs.Create(box, "baseline", ""); err != nil {
		b.Fatal(err)
	}
	const base = 1<<30 + 1<<20
	if err := driver.Mount(ctx, box, target, base); err != nil {
		b.Fatal(err)
	}
	group := fmt.Sprintf("cove-bench%d", os.Getpid())
	r.unmount = func() {
		left, err := filepath.Glob("/sys/fs/cgroup/*/" + group)
		if err == nil {
			for _, dir := range append(left, "/sys/fs/cgroup/"+group) {
				_ = os.Remove(dir)
			}
		}
		_ = driver.Unmount(target)
		_ = driver.Close()
		_ = maps.Close()
		_ = os.RemoveAll(box)
	}
	host, err := oci.DetectHost()
	if err != nil {
		b.Fatal(err)
	}
	ns, err := network.NewNamespaces(base)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = ns.Close() })
	bundle, err := oci.Bundle(oci.Input{
		ID: "baseline", Hostname: "baseline", Spec: spec, Rootfs: target, UIDBase: base,
		UserNS:      fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), ns.User.Fd()),
		NetNS:       fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), ns.Net.Fd()),
		CgroupsPath: "/" + group + "/baseline", InitPath: filepath.Join(h.bin, "cove-init"), Host: host,
	})
	if err != nil {
		b.Fatal(err)
	}
	bundle.Process.Args = []string{"/bin/true"}
	data, err := json.Marshal(bundle)
	if err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(r.bundle, "config.json"), data, 0o600); err != nil {
		b.Fatal(err)
	}
	return r
}

func (r *baseline) run(ctx context.Context) error {
	r.n++
	out, err := exec.CommandContext(ctx, r.runc, "--root", r.root, "run", "--bundle", r.bundle, fmt.Sprintf("baseline%d", r.n)).CombinedOutput()
	if err != nil {
		return fmt.Errorf("runc run: %w: %s", err, out)
	}
	return nil
}

func (r *baseline) close() { r.unmount() }
