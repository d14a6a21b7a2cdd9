package store

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	journalFile    = "journal"
	oldJournalFile = "journal.1"
)

// Cursor is a place in a journal: after the record with that number. The
// numbers of one epoch begin at 1 and have no gaps.
type Cursor struct {
	Epoch string `json:"epoch"`
	Seq   uint64 `json:"seq"`
}

// Record is one entry of a journal.
type Record struct {
	Cursor
	Time time.Time
	// Data is the JSON that was appended.
	Data json.RawMessage
}

// Journal is every event of a state directory in order, one JSON object per
// line. Its methods may be called by any goroutine until Close.
//
// It is history, not truth, and is not synced. A kill of the daemon loses
// nothing that Append has returned. A power cut may; therefore each boot begins
// a new epoch, as a new, a damaged or an unwritable file does: a cursor of an
// older epoch is unknown, never wrong.
type Journal struct {
	boot   string
	limits journalLimits

	mu     sync.Mutex
	dir    *os.File
	file   *os.File // nil when it could not be written
	size   int64
	last   Cursor
	recent []Record // the newest, oldest first, without gaps
	bytes  int      // of the data in recent
}

type journalLimits struct {
	file    int64 // bytes at which a file is rotated; one old file is kept
	record  int   // bytes of a line
	records int   // kept in memory
	bytes   int   // of data kept in memory
}

func defaultLimits() journalLimits {
	return journalLimits{file: 8 << 20, record: 1 << 20, records: 4096, bytes: 16 << 20}
}

// OpenJournal opens the journal in dir, the locked state directory, or begins
// one. It goes on after the last whole record; a torn last line is cut off.
// boot is the machine's boot id.
func OpenJournal(dir, boot string) (*Journal, error) {
	return openJournal(dir, boot, defaultLimits())
}

func openJournal(dir, boot string, limits journalLimits) (*Journal, error) {
	d, err := openDir(dir)
	if err != nil {
		return nil, fmt.Errorf("open the journal: %w", err)
	}
	j := &Journal{boot: boot, limits: limits, dir: d}
	if err := j.open(); err != nil {
		return nil, noSpace(errors.Join(fmt.Errorf("open the journal: %w", err), j.Close()))
	}
	return j, nil
}

func (j *Journal) open() error {
	now, err := j.load(journalFile)
	switch {
	case err == nil && now.head.Boot == j.boot:
		return j.resume(now)
	case errors.Is(err, os.ErrNotExist):
	case err == nil, errors.Is(err, ErrCorrupt), errors.Is(err, ErrTooLarge):
		// Another boot's, or not readable to the end: kept as history.
		if err := renameAt(j.dir, journalFile, oldJournalFile); err != nil {
			return err
		}
	default:
		return err
	}
	var raw [8]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return err
	}
	j.last.Epoch = hex.EncodeToString(raw[:])
	// A full disk must not keep the daemon from starting: the first record
	// tries again.
	if err := j.begin(1); err != nil && !errors.Is(noSpace(err), ErrNoSpace) {
		return err
	}
	return nil
}

// resume goes on with a file of this boot.
func (j *Journal) resume(now journalContents) error {
	f, err := openAt(j.dir, journalFile, unix.O_WRONLY|unix.O_APPEND, 0)
	if err != nil {
		return err
	}
	j.file, j.size = f, now.good
	if now.torn {
		if err := f.Truncate(now.good); err != nil {
			return fmt.Errorf("cut off a torn record: %w", err)
		}
	}
	j.last = Cursor{Epoch: now.head.Epoch, Seq: now.head.First - 1}
	if n := len(now.records); n > 0 {
		j.last = now.records[n-1].Cursor
	}
	old, err := j.load(oldJournalFile)
	if err == nil && old.joins(now) {
		j.remember(old.records...)
	}
	j.remember(now.records...)
	return nil
}

// Append adds a record of data, one JSON value, and returns it with its number.
// When it cannot be written, or is not JSON (it reads as null then), Append
// returns the error as well: the record counts all the same, and Since knows it
// for as long as this process lives. ErrNoSpace: the disk is full.
func (j *Journal) Append(data json.RawMessage) (Record, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.last.Seq++
	r := Record{Cursor: j.last, Time: time.Now().UTC(), Data: data}
	line, invalid := encodeRecord(r, j.limits.record)
	if invalid != nil {
		r.Data = json.RawMessage("null")
		var err error
		if line, err = encodeRecord(r, j.limits.record); err != nil {
			return r, fmt.Errorf("write the journal: %w", errors.Join(invalid, err))
		}
	}
	j.remember(r)
	if err := errors.Join(invalid, j.write(line)); err != nil {
		return r, noSpace(fmt.Errorf("write the journal: %w", err))
	}
	return r, nil
}

// Last is the place after the newest record.
func (j *Journal) Last() Cursor {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.last
}

// Since gives all records after c, oldest first. It is false when they are not
// all known (another epoch, too long ago, not yet), or are more than limit: the
// caller begins with everything anew then.
func (j *Journal) Since(c Cursor, limit int) ([]Record, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if c.Epoch != j.last.Epoch || c.Seq > j.last.Seq || j.last.Seq-c.Seq > uint64(max(0, limit)) {
		return nil, false
	}
	n := int(j.last.Seq - c.Seq)
	if n <= len(j.recent) {
		return append([]Record(nil), j.recent[len(j.recent)-n:]...), true
	}
	return j.read(c, n)
}

// read gives the n records after c from the files and from memory.
func (j *Journal) read(c Cursor, n int) ([]Record, bool) {
	out := make([]Record, 0, n)
	add := func(records []Record) {
		for _, r := range records {
			if r.Epoch == c.Epoch && r.Seq == c.Seq+uint64(len(out))+1 {
				out = append(out, r)
			}
		}
	}
	for _, name := range []string{oldJournalFile, journalFile} {
		old, err := j.load(name)
		if err != nil {
			continue // a gap shows below
		}
		add(old.records)
	}
	add(j.recent)
	return out, len(out) == n
}

// Close closes the files. Records appended later are only kept in memory.
func (j *Journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file != nil {
		defer func() { j.file = nil }()
		return errors.Join(j.file.Close(), j.dir.Close())
	}
	return j.dir.Close()
}

// remember keeps the newest records within the limits.
func (j *Journal) remember(records ...Record) {
	for _, r := range records {
		j.recent = append(j.recent, r)
		j.bytes += len(r.Data)
		for len(j.recent) > j.limits.records || (j.bytes > j.limits.bytes && len(j.recent) > 1) {
			j.bytes -= len(j.recent[0].Data)
			j.recent[0] = Record{}
			j.recent = j.recent[1:]
		}
	}
}
