package cgroup

import (
	"errors"
	"io/fs"
	"testing"
	"time"
)

// TestRealCPUTime: what is read alone is what is read with all the rest.
func TestRealCPUTime(t *testing.T) {
	tree := realTree(t, nil)
	id := randomHex(t, 12)
	if _, err := tree.CPUTime(id); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a group: %v", err)
	}
	if _, err := tree.CPUTime("../" + id); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what is no id: %v", err)
	}
	mkdir(t, tree, tree.dirs(id)...)
	meters := tree.Meters()
	t.Cleanup(func() { meters.Keep(func(string) bool { return false }) })
	cmd := start(t, tree.dirs(id), "sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; exec sleep 1000")
	deadline := time.Now().Add(enough)
	for used := time.Duration(0); used < 10*time.Millisecond; {
		before, err := meters.Usage(id)
		if err != nil {
			t.Fatal(err)
		}
		if used, err = tree.CPUTime(id); err != nil {
			t.Fatal(err)
		}
		after, err := meters.Usage(id)
		if err != nil {
			t.Fatal(err)
		}
		if used < before.CPU || used > after.CPU {
			t.Errorf("%v is not between %v and %v", used, before.CPU, after.CPU)
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v: %v", enough, used)
		}
	}
	kill(t, tree, id)
	killedBySignal(t, cmd)
	remove(t, tree, id)
	if _, err := tree.CPUTime(id); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a removed group: %v", err)
	}
}

func BenchmarkCPUTime(b *testing.B) {
	tree := realTree(b, nil)
	id := randomHex(b, 12)
	mkdir(b, tree, tree.dirs(id)...)
	for b.Loop() {
		if _, err := tree.CPUTime(id); err != nil {
			b.Fatal(err)
		}
	}
	remove(b, tree, id)
}
