package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// oplogLimit bounds what is read, in bytes. A file is emptied long before,
	// at the end of an operation.
	oplogLimit = 4 << 20
	oplogKeep  = 64 << 10
)

// Kinds of records.
const (
	opBegin = "begin"
	opStage = "stage"
	opEnd   = "end"
)

// opRecord is one line of the file.
type opRecord struct {
	Kind   string          `json:"kind"`
	Time   time.Time       `json:"time,omitzero"`
	Op     string          `json:"op,omitempty"`
	From   string          `json:"from,omitempty"`
	Args   json.RawMessage `json:"args,omitempty"`
	Stage  string          `json:"stage,omitempty"`
	Result string          `json:"result,omitempty"`
}

// LastOp is what a record file says of the last operation that was begun.
type LastOp struct {
	// Op is "" when none ever was.
	Op, From string
	Args     json.RawMessage
	Began    time.Time
	// Stage is the last one that was recorded, "" before the first.
	Stage string
	// Unfinished says that it did not come to its end; Result is how it ended.
	Unfinished bool
	Result     string
}

// Oplog records the operations on one sandbox, one after the other, so that
// after a kill at any moment it is known which was under way and how far it had
// come. Records are appended and never changed. Its methods may be called by
// any goroutine until Close.
type Oplog struct {
	mu   sync.Mutex
	file *os.File
	size int64
	sync bool
}

// OpenOplog opens the record file at path or makes it; a record torn by a kill
// is cut off. With sync every record but the stages outlives a power cut: for
// files in the state directory.
func OpenOplog(path string, sync bool) (_ *Oplog, err error) {
	d, err := openDir(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("open the operation log: %w", err)
	}
	defer d.Close()
	f, err := openAt(d, filepath.Base(path), unix.O_RDWR|unix.O_CREAT|unix.O_APPEND|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, noSpace(fmt.Errorf("open the operation log: %w", err))
	}
	o := &Oplog{file: f, sync: sync}
	if err := o.trim(); err != nil {
		return nil, errors.Join(fmt.Errorf("open the operation log: %w", err), f.Close())
	}
	if sync {
		if err := syncFile(d); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	return o, nil
}

// trim cuts off what follows the last line's end.
func (o *Oplog) trim() error {
	st, err := o.file.Stat()
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() {
		return fmt.Errorf("%s: %w: not a regular file", o.file.Name(), ErrCorrupt)
	}
	buf := make([]byte, 4096)
	for end := st.Size(); end > 0; {
		n := min(end, int64(len(buf)))
		if _, err := io.ReadFull(io.NewSectionReader(o.file, end-n, n), buf[:n]); err != nil {
			return err
		}
		if i := bytes.LastIndexByte(buf[:n], '\n'); i >= 0 {
			o.size = end - n + int64(i) + 1
			break
		}
		end -= n
	}
	if o.size < st.Size() {
		return o.file.Truncate(o.size)
	}
	return nil
}

// Begin records that op begins, from the state the sandbox is in. Nothing of it
// may happen before Begin has returned nil. ErrNoSpace: the disk is full.
func (o *Oplog) Begin(op, from string) error { return o.BeginWith(op, from, nil) }

// BeginWith is [Oplog.Begin] with what the operation was asked for, as JSON:
// enough to finish it or to roll it back.
func (o *Oplog) BeginWith(op, from string, args any) error {
	r := opRecord{Kind: opBegin, Time: time.Now().UTC(), Op: op, From: from}
	if args != nil {
		data, err := json.Marshal(args)
		if err != nil {
			return fmt.Errorf("record the beginning of %s: %w", op, err)
		}
		r.Args = data
	}
	return o.append(r, o.sync)
}

// Stage records that the operation has come so far. It is never synced: after a
// power cut an earlier stage may be read, and stages are made for that.
func (o *Oplog) Stage(name string) error {
	return o.append(opRecord{Kind: opStage, Stage: name}, false)
}

// End records that the operation has come to its end, well or not.
func (o *Oplog) End(result string) error {
	if err := o.append(opRecord{Kind: opEnd, Result: result}, o.sync); err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.size < oplogKeep {
		return nil
	}
	// Nothing is under way: there is nothing to lose.
	if err := o.file.Truncate(0); err != nil {
		return fmt.Errorf("empty the operation log: %w", err)
	}
	o.size = 0
	return nil
}

func (o *Oplog) append(r opRecord, sync bool) error {
	line, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("record an operation: %w", err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.size+int64(len(line)) >= oplogLimit {
		return fmt.Errorf("record an operation: %w: its log has %d bytes", ErrTooLarge, o.size)
	}
	n, err := o.file.Write(append(line, '\n'))
	if err != nil {
		// The next record must not continue a torn line.
		return noSpace(fmt.Errorf("record an operation: %w", errors.Join(err, o.file.Truncate(o.size))))
	}
	o.size += int64(n)
	if sync {
		return syncFile(o.file)
	}
	return nil
}

// Close closes the file.
func (o *Oplog) Close() error { return o.file.Close() }

// ReadOplog tells what the record file at path says of the last operation. A
// file that is not there says that none was ever begun. A torn or damaged
// record is passed over. Errors: those of [ReadFile].
func ReadOplog(path string) (LastOp, error) {
	data, err := ReadFile(path, oplogLimit)
	if errors.Is(err, os.ErrNotExist) {
		return LastOp{}, nil
	}
	if err != nil {
		return LastOp{}, fmt.Errorf("read the operation log: %w", err)
	}
	return parseOplog(data), nil
}

func parseOplog(data []byte) LastOp {
	var last LastOp
	for len(data) > 0 {
		line, rest, whole := bytes.Cut(data, []byte("\n"))
		data = rest
		var r opRecord
		if !whole || json.Unmarshal(line, &r) != nil {
			continue
		}
		switch r.Kind {
		case opBegin:
			last = LastOp{Op: r.Op, From: r.From, Args: r.Args, Began: r.Time, Unfinished: true}
		case opStage:
			if last.Unfinished {
				last.Stage = r.Stage
			}
		case opEnd:
			if last.Unfinished {
				last.Unfinished, last.Result = false, r.Result
			}
		}
	}
	return last
}
