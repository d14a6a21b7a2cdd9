package cgroup

import (
	"errors"
	"io/fs"
	"testing"
	"time"
)

func TestCPUTime(t *testing.T) {
	for mode, want := range map[Mode]struct {
		files map[string]string
		used  time.Duration
	}{
		Legacy:  {v1Files(), 1234567890},
		Hybrid:  {v1Files(), 1234567890},
		Unified: {v2Files(), 1234567 * time.Microsecond},
	} {
		tree := fakeTree(t, mode, want.files)
		if got, err := tree.CPUTime(testID); err != nil || got != want.used {
			t.Errorf("%s: %v, %v", mode, got, err)
		}
		if _, err := tree.CPUTime("ffffffffffff"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s, no group: %v", mode, err)
		}
		if _, err := tree.CPUTime("x"); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s, no id: %v", mode, err)
		}
	}
	l := Layout{Mode: Legacy, Parent: "/", Hierarchies: []Hierarchy{{Path: t.TempDir(), Controllers: []string{"memory"}}}}
	tree, err := New(l, "abcdef")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tree.CPUTime(testID); !errors.Is(err, ErrUnavailable) {
		t.Errorf("without cpuacct: %v", err)
	}
}

func TestUnwritten(t *testing.T) {
	for mode, files := range map[Mode]map[string]string{
		Legacy:  {"memory/memory.stat": "dirty 1\nwriteback 1\ntotal_dirty 4096\ntotal_writeback 8192\n"},
		Unified: {"memory.stat": "anon 1\nfile_dirty 4096\nfile_writeback 8192\n"},
	} {
		tree := fakeTree(t, mode, files)
		if got, err := tree.Unwritten(testID); err != nil || got != 12288 {
			t.Errorf("%s: %v, %v", mode, got, err)
		}
		if _, err := tree.Unwritten("ffffffffffff"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s, no group: %v", mode, err)
		}
	}
}
