package main

import (
	"bytes"
	"fmt"
	"testing"

	"cove/runtime/guest"
)

func TestJournalKeepsTheLast(t *testing.T) {
	var j journal
	if rec, _, more := j.next(0); rec != nil || more == nil {
		t.Fatal("an empty journal has a record")
	}
	id := j.begin("seq")
	var want [][]byte
	for i := range 3000 {
		text := bytes.Repeat([]byte{byte(i)}, i%1500)
		want = append(want, text)
		j.add(id, kindStdout, text)
	}
	big := bytes.Repeat([]byte("x"), 3*maxRecord+5)
	j.add(id, kindStderr, big)
	j.add(id, kindEnd, []byte("status 0"))
	var got []*guest.LogRecord
	size := 0
	for at := uint64(0); ; {
		rec, behind, _ := j.next(at)
		if rec == nil {
			break
		}
		got, at = append(got, rec), behind
		size += recordHeader + len(rec.Text)
	}
	if size > ringSize || size < ringSize-maxRecord {
		t.Errorf("%d bytes are kept of %d", size, ringSize)
	}
	tail := got[len(got)-5:]
	var joined []byte
	for _, r := range tail[:4] {
		if r.Kind != guest.LogStderr {
			t.Fatalf("a record is %s", r.Kind)
		}
		joined = append(joined, r.Text...)
	}
	if !bytes.Equal(joined, big) || tail[4].Kind != guest.LogEnd || string(tail[4].Text) != "status 0" || tail[4].ID != id {
		t.Errorf("the end is %+v", tail[4])
	}
	lines := got[:len(got)-5]
	for i, r := range lines {
		if w := want[len(want)-len(lines)+i]; r.Kind != guest.LogStdout || !bytes.Equal(r.Text, w) {
			t.Fatalf("record %d of %d: %s of %d bytes, want %d", i, len(lines), r.Kind, len(r.Text), len(w))
		}
	}
}

func BenchmarkJournal(b *testing.B) {
	for _, n := range []int{0, 80, 64 << 10} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var j journal
			text := make([]byte, n)
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				j.add(1, kindStdout, text)
			}
		})
	}
}
