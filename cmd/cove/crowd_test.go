package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"cove/runtime/api"
)

// TestCrowd creates many sandboxes at once: all answer exec, and nothing of them
// is left. Their number is COVE_CROWD, else few.
func TestCrowd(t *testing.T) {
	h := realHost(t)
	h.must("daemon", "start")
	c := api.New(filepath.Join(h.run, api.SocketName))
	defer c.Close()
	n := 20
	if text := os.Getenv("COVE_CROWD"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	h.must("create", "-p", "shell", "-n", "spec", "--block-all")
	spec := h.inspect("spec").Spec
	var names []string
	for i := range n {
		names = append(names, fmt.Sprintf("crowd-%d", i))
	}
	begin := time.Now()
	if err := together(names, func(name string) error {
		if _, err := c.Create(t.Context(), api.CreateRequest{Name: name, Spec: spec}); err != nil {
			return err
		}
		return execAPI(t.Context(), c, name, "true")
	}); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d created, and a command run in each, in %v", n, time.Since(begin).Round(time.Millisecond))
	r, err := c.Stats(t.Context())
	if err != nil || len(r.Sandboxes) != n+1 {
		t.Errorf("statistics of %d, %v", len(r.Sandboxes), err)
	}
	for _, s := range r.Sandboxes {
		unknown := slices.DeleteFunc(slices.Clone(s.Missing), func(f string) bool {
			return f == "disk" || strings.HasPrefix(f, "io_") // it is counted later; the host has no meter
		})
		if len(unknown) > 0 || s.Memory == 0 || s.Pids == 0 || s.CPUTotal == 0 {
			t.Errorf("%+v", s)
		}
	}
	if err := together(names, func(name string) error { _, err := c.Delete(t.Context(), name, true); return err }); err != nil {
		t.Error(err)
	}
}

// together does one thing to all at the same time.
func together(names []string, do func(name string) error) error {
	errs := make([]error, len(names))
	var wg sync.WaitGroup
	for i, name := range names {
		wg.Go(func() {
			if err := do(name); err != nil {
				errs[i] = fmt.Errorf("%s: %w", name, err)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
