package store

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

func ringData(n uint32) []byte { return binary.LittleEndian.AppendUint64(nil, uint64(n)*7) }

// numbers reads a ring whose records must all be right, and gives their numbers.
func numbers(t *testing.T, r Ring, path string) (seqs []uint32, next uint32) {
	t.Helper()
	records, next, err := r.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	for i, x := range records {
		if string(x.Data) != string(ringData(x.Seq)) {
			t.Errorf("record %d has %x", x.Seq, x.Data)
		}
		if i > 0 && x.Seq <= records[i-1].Seq {
			t.Errorf("record %d comes after %d", x.Seq, records[i-1].Seq)
		}
		seqs = append(seqs, x.Seq)
	}
	return seqs, next
}

func TestRing(t *testing.T) {
	r := Ring{Slots: 10, Size: 8}
	path := filepath.Join(t.TempDir(), "ring")
	if seqs, next := numbers(t, r, path); len(seqs) != 0 || next != 1 {
		t.Errorf("without a file: %v, next %d", seqs, next)
	}
	next := uint32(1)
	for _, n := range []int{1, 2, 4, 9, 10, 3, 1} {
		var add []RingRecord
		for range n {
			add = append(add, RingRecord{next, ringData(next)})
			next++
		}
		if err := r.Append(path, add...); err != nil {
			t.Fatal(err)
		}
		seqs, after := numbers(t, r, path)
		want := min(int(next-1), r.Slots)
		if after != next || len(seqs) != want || seqs[0] != next-uint32(want) {
			t.Errorf("after %d: %v, next %d", next-1, seqs, after)
		}
	}
	if st, err := os.Stat(path); err != nil || st.Size() != r.Bytes() || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st, err)
	}
	if seqs, next := numbers(t, Ring{Slots: 20, Size: 0}, path); len(seqs) != 0 || next != 1 {
		t.Errorf("read in another shape: %v, %d", seqs, next)
	}
	if err := r.Append(path, RingRecord{next, []byte("short")}); err == nil {
		t.Error("a record of the wrong size was taken")
	}
	if err := r.Append(filepath.Join(t.TempDir(), "none", "ring"), RingRecord{1, ringData(1)}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("in no directory: %v", err)
	}
}

// TestRingDamaged: whatever becomes of the file, what is read is what was written,
// and the ring goes on.
func TestRingDamaged(t *testing.T) {
	r := Ring{Slots: 16, Size: 8}
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		path := filepath.Join(t.TempDir(), "ring")
		next := uint32(1)
		for range rnd.IntN(40) {
			if err := r.Append(path, RingRecord{next, ringData(next)}); err != nil {
				t.Fatal(err)
			}
			next++
		}
		data, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		switch rnd.IntN(4) {
		case 0:
			data = data[:rnd.IntN(len(data)+1)]
		case 1:
			data = append(data, make([]byte, rnd.IntN(1000))...)
		default:
			for range rnd.IntN(20) {
				if len(data) > 0 {
					data[rnd.IntN(len(data))] = byte(rnd.Uint32())
				}
			}
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		_, after := numbers(t, r, path)
		if after > next {
			t.Fatalf("seed %d: next is %d, of %d", seed, after, next)
		}
		if err := r.Append(path, RingRecord{after, ringData(after)}); err != nil {
			t.Fatal(err)
		}
		if seqs, now := numbers(t, r, path); len(seqs) == 0 || seqs[len(seqs)-1] != after || now != after+1 {
			t.Fatalf("seed %d: after %d: %v, next %d", seed, after, seqs, now)
		}
	}
}
