package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

func TestTrail(t *testing.T) {
	tr := Trail{Limit: 1000}
	path := filepath.Join(t.TempDir(), "trail")
	if lines, err := tr.Read(path); err != nil || len(lines) != 0 {
		t.Errorf("without a file: %q, %v", lines, err)
	}
	for i := range 500 {
		if err := tr.Append(path, fmt.Appendf(nil, "line %d", 2*i), fmt.Appendf(nil, "line %d", 2*i+1)); err != nil {
			t.Fatal(err)
		}
		st, err := os.Stat(path)
		if err != nil || st.Size() > tr.Limit {
			t.Fatalf("%v, %v", st, err)
		}
		lines, err := tr.Read(path)
		if err != nil {
			t.Fatal(err)
		}
		// The newest, without a gap, and no less than half of what it may be.
		for j, l := range lines {
			if want := fmt.Sprintf("line %d", 2*i+2-len(lines)+j); string(l) != want {
				t.Fatalf("after %d: line %d is %q, want %q", i, j, l, want)
			}
		}
		if len(lines) < min(2*i+2, int(tr.Limit)/2/len("line 999\n")) {
			t.Fatalf("after %d: %d lines", i, len(lines))
		}
	}
}

// TestTrailTorn: a line that was torn does not spoil the next one.
func TestTrailTorn(t *testing.T) {
	tr := Trail{Limit: 1000}
	path := filepath.Join(t.TempDir(), "trail")
	if err := os.WriteFile(path, []byte("one\ntw"), 0o600); err != nil {
		t.Fatal(err)
	}
	if lines, err := tr.Read(path); err != nil || !equalLines(lines, "one") {
		t.Errorf("%q, %v", lines, err)
	}
	if err := tr.Append(path, []byte("three")); err != nil {
		t.Fatal(err)
	}
	if lines, err := tr.Read(path); err != nil || !equalLines(lines, "one", "tw", "three") {
		t.Errorf("%q, %v", lines, err)
	}
	// What is larger than it may be is no trail; the next line mends it.
	if err := os.WriteFile(path, bytes.Repeat([]byte("x\n"), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := tr.Read(path); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
	if err := tr.Append(path, []byte("four")); err != nil {
		t.Fatal(err)
	}
	if lines, err := tr.Read(path); err != nil || len(lines) < 100 || string(lines[len(lines)-1]) != "four" {
		t.Errorf("%d lines, %v", len(lines), err)
	}
}

func equalLines(lines [][]byte, want ...string) bool {
	if len(lines) != len(want) {
		return false
	}
	for i, l := range lines {
		if string(l) != want[i] {
			return false
		}
	}
	return true
}
