package main

import (
	"slices"
	"testing"
)

func TestParseStat(t *testing.T) {
	line := "42 (a) b (c)) S 7 41 40 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 12345 0 0 18446744073709551615"
	p, ok := parseStat(42, []byte(line))
	if want := (proc{pid: 42, ppid: 7, sid: 40, state: 'S', start: 12345}); !ok || p != want {
		t.Errorf("got %+v, %v, want %+v", p, ok, want)
	}
	for _, bad := range []string{"", "42 (x", "42 (x) S 1 2", "42 (x) SS 7 41 40 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 12345 0"} {
		if p, ok := parseStat(42, []byte(bad)); ok {
			t.Errorf("%q: got %+v", bad, p)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("1 (cove-init) S 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 12345 0"))
	f.Fuzz(func(_ *testing.T, b []byte) { parseStat(1, b) })
}

func TestBelow(t *testing.T) {
	// 5 is its own parent's parent: a table that changed while it was read.
	table := []proc{{pid: 1}, {pid: 2, ppid: 1}, {pid: 3, ppid: 2}, {pid: 4, ppid: 3}, {pid: 5, ppid: 6}, {pid: 6, ppid: 5}, {pid: 7, ppid: 1}}
	var got []int
	for _, p := range below(2, table) {
		got = append(got, p.pid)
	}
	if slices.Sort(got); !slices.Equal(got, []int{3, 4}) {
		t.Errorf("below 2: %v", got)
	}
	if n := len(below(5, table)); n != 1 {
		t.Errorf("below 5: %d processes", n)
	}
}

func TestProcessesFindsItself(t *testing.T) {
	table, err := processes()
	if err != nil {
		t.Fatal(err)
	}
	self, ok := readProc(selfPid())
	if !ok || !slices.ContainsFunc(table, func(p proc) bool { return p.pid == self.pid && p.start == self.start }) {
		t.Errorf("%+v is not in the table", self)
	}
}
