package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// journalHead is the first line of a journal's file: what all its records have
// in common.
type journalHead struct {
	Version int    `json:"journal"`
	Epoch   string `json:"epoch"`
	Boot    string `json:"boot"`
	First   uint64 `json:"first"` // number of the first record
}

// journalLine is one record in the file; the keys stay in this order.
type journalLine struct {
	Seq  uint64          `json:"seq"`
	Time time.Time       `json:"time"`
	Data json.RawMessage `json:"data"`
}

// journalContents is what a file holds: whole records, by number, without gaps.
type journalContents struct {
	head    journalHead
	records []Record
	good    int64 // bytes to the end of the last whole record
	torn    bool  // something follows it
}

// joins tells whether next goes on where c ends.
func (c journalContents) joins(next journalContents) bool {
	return c.head.Epoch == next.head.Epoch && c.head.First+uint64(len(c.records)) == next.head.First
}

func encodeRecord(r Record, limit int) ([]byte, error) {
	line, err := json.Marshal(journalLine{Seq: r.Seq, Time: r.Time, Data: r.Data})
	if err != nil {
		return nil, err
	}
	if len(line) >= limit {
		return nil, fmt.Errorf("a record of %d bytes: %w", len(line), ErrTooLarge)
	}
	return append(line, '\n'), nil
}

// parseJournal reads a journal's file. A last line without its end is torn: it
// was never acknowledged. Anything else that is not as it was written is
// ErrCorrupt: no number after it can be trusted.
func parseJournal(data []byte) (journalContents, error) {
	var c journalContents
	line, rest, whole := bytes.Cut(data, []byte("\n"))
	if !whole || json.Unmarshal(line, &c.head) != nil || c.head.Version != 1 || c.head.Epoch == "" || c.head.First == 0 {
		return c, fmt.Errorf("%s: %w: no head", journalFile, ErrCorrupt)
	}
	c.good = int64(len(line) + 1)
	for len(rest) > 0 {
		line, rest, whole = bytes.Cut(rest, []byte("\n"))
		if !whole {
			c.torn = true
			return c, nil
		}
		var l journalLine
		if err := json.Unmarshal(line, &l); err != nil || l.Seq != c.head.First+uint64(len(c.records)) {
			return c, fmt.Errorf("%s: %w: record %d", journalFile, ErrCorrupt, len(c.records)+1)
		}
		c.records = append(c.records, Record{Cursor: Cursor{c.head.Epoch, l.Seq}, Time: l.Time, Data: l.Data})
		c.good += int64(len(line) + 1)
	}
	return c, nil
}

// load reads one of the journal's files.
func (j *Journal) load(name string) (journalContents, error) {
	data, err := readAt(j.dir, name, j.limits.file+int64(j.limits.record))
	if err != nil {
		return journalContents{}, err
	}
	return parseJournal(data)
}

// begin puts a new file in place, for records from first on; the one before it
// is kept as the old one.
func (j *Journal) begin(first uint64) error {
	head, err := json.Marshal(journalHead{Version: 1, Epoch: j.last.Epoch, Boot: j.boot, First: first})
	if err != nil {
		return err
	}
	const tmp = "." + journalFile + ".tmp"
	f, err := openAt(j.dir, tmp, unix.O_WRONLY|unix.O_CREAT|unix.O_APPEND|unix.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	n, err := f.Write(append(head, '\n'))
	if err == nil && j.file != nil {
		err = renameAt(j.dir, journalFile, oldJournalFile)
	}
	if err == nil {
		// Killed in between, the next daemon finds no journal and begins an epoch.
		err = renameAt(j.dir, tmp, journalFile)
	}
	if err != nil {
		return errors.Join(err, f.Close(), unlinkAt(j.dir, tmp))
	}
	if j.file != nil {
		_ = j.file.Close() // everything was written when Append returned
	}
	j.file, j.size = f, int64(n)
	return nil
}

// write adds a line to the file; after a failure the next one begins a new file.
func (j *Journal) write(line []byte) error {
	if j.file == nil || j.size+int64(len(line)) > j.limits.file {
		if err := j.begin(j.last.Seq); err != nil {
			return errors.Join(err, j.giveUp())
		}
	}
	n, err := j.file.Write(line)
	if err != nil {
		return errors.Join(err, j.giveUp())
	}
	j.size += int64(n)
	return nil
}

// giveUp puts a file aside that lacks a record: were it found by the next
// daemon, the missing numbers would be given out twice.
func (j *Journal) giveUp() error {
	if j.file == nil {
		return nil
	}
	err := errors.Join(j.file.Truncate(j.size), j.file.Close())
	if rerr := renameAt(j.dir, journalFile, oldJournalFile); rerr != nil {
		err = errors.Join(err, rerr, unlinkAt(j.dir, journalFile))
	}
	j.file, j.size = nil, 0
	return err
}
