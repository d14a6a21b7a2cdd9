package runner

import (
	"context"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"cove/runtime/oci"
)

// BenchmarkColdStart tells, as medians in milliseconds, what the life of a
// container costs by its steps, and what `runc run` of the same bundle does.
// They alternate, so that a busy machine is as busy for one as for the other.
func BenchmarkColdStart(b *testing.B) {
	r := realRunc(b)
	box := newBox(b, r, func(_ *oci.Input, s *specs.Spec) {
		if s != nil {
			s.Process.Args = []string{"/bin/inside", "exit", "0"}
		}
	})
	ctx := context.Background()
	times := map[string][]float64{}
	timed := func(what string, f func() error) {
		start := time.Now()
		if err := f(); err != nil {
			b.Fatalf("%s: %v", what, err)
		}
		times[what] = append(times[what], time.Since(start).Seconds()*1000)
	}
	life := func(start, remove string) {
		var p *Process
		begin := time.Now()
		timed("create", func() error {
			pid, err := r.Create(ctx, box.id, box.bundle, box.listen)
			if err != nil {
				return err
			}
			p, err = Watch(pid, 0)
			return err
		})
		timed(start, func() error {
			if start == "start" {
				return r.Start(ctx, box.id)
			}
			_, err := r.run(ctx, invocation{op: "start", args: []string{box.id}})
			return err
		})
		if _, err := p.Wait(ctx); err != nil {
			b.Fatal(err)
		}
		if start == "start" {
			times["create-start-end"] = append(times["create-start-end"], time.Since(begin).Seconds()*1000)
		}
		must(b, p.Close())
		timed(remove, func() error {
			if remove == "delete" {
				return r.Delete(ctx, box.id)
			}
			for _, g := range box.groups("/" + box.id) {
				if err := os.Remove(g); err != nil {
					return err
				}
			}
			return r.Forget(box.id)
		})
	}
	for b.Loop() {
		timed("runc-run", func() error {
			_, err := r.run(ctx, invocation{op: "run", args: []string{"--bundle", box.bundle, box.id}})
			return err
		})
		life("start", "forget")
		life("runc-start", "delete")
		timed("runc-version", func() error {
			_, err := r.Version(ctx)
			return err
		})
	}
	for what, t := range times {
		slices.Sort(t)
		b.ReportMetric(t[len(t)/2], what+"-ms")
	}
	b.ReportMetric(0, "ns/op")
}
