package store

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// Ring is the shape of a file that keeps the newest Slots records of Size bytes
// each, in [Ring.Bytes] bytes. It is for what may be lost: nothing is synced, and
// after a power cut or by damage some records are missing, never wrong. Each has
// a number, which gives its slot and the order, so that no clock is trusted, and
// a checksum.
type Ring struct{ Slots, Size int }

// RingRecord is one record and its number.
type RingRecord struct {
	Seq  uint32
	Data []byte
}

// ringExtra is what each record takes beside its data: its number before and its
// checksum behind.
const ringExtra = 4 + 4

func (r Ring) stride() int { return r.Size + ringExtra }

// Bytes is the most that the file has.
func (r Ring) Bytes() int64 { return int64(r.Slots) * int64(r.stride()) }

// Read gives the records in the file at path, the oldest first, and the number of
// the next one. A file that is not there has none. What is not valid is left out.
func (r Ring) Read(path string) (records []RingRecord, next uint32, err error) {
	data, err := ReadFile(path, r.Bytes())
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, 1, nil
	case errors.Is(err, ErrTooLarge), errors.Is(err, ErrCorrupt):
		return nil, 1, nil // another's, or of another shape
	case err != nil:
		return nil, 1, err
	}
	for slot := range len(data) / r.stride() {
		one := data[slot*r.stride():][:r.stride()]
		body, sum := one[:4+r.Size], binary.LittleEndian.Uint32(one[4+r.Size:])
		seq := binary.LittleEndian.Uint32(body)
		if seq == 0 || int(seq)%r.Slots != slot || sum != r.sum(body) {
			continue
		}
		records = append(records, RingRecord{seq, body[4:]})
	}
	slices.SortFunc(records, func(a, b RingRecord) int { return cmp.Compare(a.Seq, b.Seq) })
	if n := len(records); n > 0 {
		next = records[n-1].Seq + 1
		// Where newer ones are damaged, older ones may be left of the round before.
		oldest := int64(next) - int64(r.Slots)
		records = slices.DeleteFunc(records, func(x RingRecord) bool { return int64(x.Seq) < oldest })
		return records, next, nil
	}
	return nil, 1, nil
}

// Append writes records into the file at path, whose directory must be there. Their
// numbers follow each other and what Read said. ErrNoSpace: the disk is full.
func (r Ring) Append(path string, records ...RingRecord) error {
	if len(records) == 0 {
		return nil
	}
	d, err := openDir(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	defer d.Close()
	f, err := openAt(d, filepath.Base(path), unix.O_WRONLY|unix.O_CREAT|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return noSpace(fmt.Errorf("write %s: %w", filepath.Base(path), err))
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() {
		return fmt.Errorf("%s: %w: not a regular file", path, ErrCorrupt)
	}
	if st.Size() > r.Bytes() {
		// Of another shape: Read found nothing in it.
		if err := f.Truncate(0); err != nil {
			return err
		}
	}
	// What lies side by side is written at once.
	for len(records) > 0 {
		first := int(records[0].Seq) % r.Slots
		n := min(len(records), r.Slots-first)
		buf := make([]byte, 0, n*r.stride())
		for _, x := range records[:n] {
			if len(x.Data) != r.Size {
				return fmt.Errorf("write %s: a record of %d bytes in a ring of %d", filepath.Base(path), len(x.Data), r.Size)
			}
			begin := len(buf)
			buf = binary.LittleEndian.AppendUint32(buf, x.Seq)
			buf = append(buf, x.Data...)
			buf = binary.LittleEndian.AppendUint32(buf, r.sum(buf[begin:]))
		}
		if _, err := f.WriteAt(buf, int64(first)*int64(r.stride())); err != nil {
			return noSpace(fmt.Errorf("write %s: %w", filepath.Base(path), err))
		}
		records = records[n:]
	}
	return nil
}

// sum is of the shape too: what was written in another is not read in this one.
func (r Ring) sum(body []byte) uint32 {
	var shape [8]byte
	binary.LittleEndian.PutUint32(shape[:], uint32(r.Slots))
	binary.LittleEndian.PutUint32(shape[4:], uint32(r.Size))
	table := crc32.MakeTable(crc32.Castagnoli)
	return crc32.Update(crc32.Checksum(shape[:], table), table, body)
}
