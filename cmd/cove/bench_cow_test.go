package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"cove/config"
	"cove/runtime/api"
)

// cow is what a copy-on-write mount adds to a create, by how much is in it.
func (k *bench) cow() {
	b, r := k.b, k.r
	base := filepath.Join(k.h.state, "..", "projects")
	full := filepath.Join(base, "full")
	for i := range 100 {
		dir := filepath.Join(full, fmt.Sprint(i))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			b.Fatal(err)
		}
		for j := range 100 {
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(j)), []byte("x"), 0o644); err != nil {
				b.Fatal(err)
			}
		}
	}
	empty := filepath.Join(base, "empty")
	if err := os.Mkdir(empty, 0o755); err != nil {
		b.Fatal(err)
	}
	create := func(name, dir string) error {
		spec := k.spec
		var dirs []*os.File
		if dir != "" {
			f, err := os.Open(dir)
			if err != nil {
				return err
			}
			defer f.Close()
			dirs = append(dirs, f)
			spec.Mounts = []config.Mount{{Source: dir, Target: "/workspace", Mode: config.MountCOW}}
		}
		if _, err := k.c.Create(k.ctx, api.CreateRequest{Name: name, Spec: spec, Dirs: dirs}); err != nil {
			return err
		}
		return execAPI(k.ctx, k.c, name, "true")
	}
	var without, small, large []time.Duration
	for i := range benchRounds {
		for _, c := range []struct {
			dir  string
			into *[]time.Duration
		}{{"", &without}, {empty, &small}, {full, &large}} {
			name := fmt.Sprintf("c%d", i)
			*c.into = append(*c.into, timed(b, func() error { return create(name, c.dir) }))
			if _, err := k.c.Delete(k.ctx, name, true); err != nil {
				b.Fatal(err)
			}
		}
	}
	r.in("copy-on-write mounts")
	plain := r.times("create, first command done: without", without)
	r.times("create, first command done: an empty directory", small).over(plain)
	r.times("create, first command done: 10,000 files", large).over(plain)
}
