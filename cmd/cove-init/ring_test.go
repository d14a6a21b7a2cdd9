package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

func TestRing(t *testing.T) {
	r, err := newRing()
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	if got := r.last(10, 1000); len(got) != 0 {
		t.Errorf("empty: %q", got)
	}
	r.write([]byte("one\r\ntwo\r\nthree"))
	for _, tt := range []struct {
		lines, limit int
		want         string
	}{
		{10, 1000, "one\r\ntwo\r\nthree"},
		{1, 1000, "two\r\nthree"},
		{0, 1000, "three"},
		{10, 8, "three"}, // the beginning does not fit: from a line's beginning on
		{10, 3, "ree"},
	} {
		if got := string(r.last(tt.lines, tt.limit)); got != tt.want {
			t.Errorf("last(%d, %d) = %q, want %q", tt.lines, tt.limit, got, tt.want)
		}
	}
	// Round the end several times, in pieces of all lengths.
	var all bytes.Buffer
	for i := 0; all.Len() < 3*ringSize; i++ {
		p := fmt.Appendf(nil, "%d%s\n", i, strings.Repeat("x", i%977))
		all.Write(p)
		r.write(p)
	}
	got := r.last(1<<20, ringSize)
	want := all.Bytes()[all.Len()-ringSize:]
	if want = want[bytes.IndexByte(want, '\n')+1:]; !bytes.Equal(got, want) {
		t.Errorf("%d bytes, want %d", len(got), len(want))
	}
	if got, want := r.last(2, 1<<20), bytes.SplitAfter(all.Bytes(), []byte("\n")); string(got) != string(bytes.Join(want[len(want)-3:], nil)) {
		t.Errorf("the last two lines: %q", got)
	}
	big := bytes.Repeat([]byte("y"), ringSize+5)
	r.write(append(big, '\n', 'z'))
	if got := string(r.last(0, 100)); got != "z" {
		t.Errorf("after more than all at once: %q", got)
	}
}
