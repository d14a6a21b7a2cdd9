package main

import (
	"encoding/binary"
	"encoding/json"
	"sync"
	"time"

	"cove/runtime/frame"
	"cove/runtime/guest"
)

// journal keeps the last that programs printed, in memory alone: it may be secret.
// Its memory is mapped like a session's, so what was never written costs nothing.
type journal struct {
	mu    sync.Mutex
	ring  *ring  // nil until something is kept
	first uint64 // where the oldest record that is whole begins
	ids   uint32 // of programs
	// wake is closed when something is added; nil: nobody waits.
	wake chan struct{}
}

// A record is a header and its text.
const (
	recordHeader = 4 + 8 + 4 + 1 // length of the text, time, program, kind
	maxRecord    = 64 << 10      // bytes of text in one record
)

// logKinds are the kinds of records, by their number in a header.
func logKinds() []guest.LogKind {
	return []guest.LogKind{guest.LogStart, guest.LogStdout, guest.LogStderr, guest.LogEnd}
}

const (
	kindStart = iota
	kindStdout
	kindStderr
	kindEnd
)

// begin gives a program its number.
func (j *journal) begin(command string) uint32 {
	j.mu.Lock()
	j.ids++
	id := j.ids
	j.mu.Unlock()
	j.add(id, kindStart, []byte(command))
	return id
}

// add keeps text. It is on the way of all that programs print: one copy, no
// allocation.
func (j *journal) add(id uint32, kind byte, text []byte) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.ring == nil {
		r, err := newRing()
		if err != nil {
			return // no memory: it is not kept
		}
		j.ring = r
	}
	now := uint64(time.Now().UnixMicro())
	for first := true; first || len(text) > 0; first = false {
		part := text[:min(len(text), maxRecord)]
		text = text[len(part):]
		j.makeRoom(uint64(recordHeader + len(part)))
		var h [recordHeader]byte
		binary.BigEndian.PutUint32(h[:], uint32(len(part)))
		binary.BigEndian.PutUint64(h[4:], now)
		binary.BigEndian.PutUint32(h[12:], id)
		h[16] = kind
		j.ring.write(h[:])
		j.ring.write(part)
	}
	if j.wake != nil {
		close(j.wake)
		j.wake = nil
	}
}

// makeRoom gives up the oldest records for n bytes.
func (j *journal) makeRoom(n uint64) {
	for j.ring.total+n-j.first > ringSize {
		var h [4]byte
		j.ring.read(j.first, h[:])
		j.first += recordHeader + uint64(binary.BigEndian.Uint32(h[:]))
	}
}

// read fills p with what was written from at on.
func (r *ring) read(at uint64, p []byte) {
	n := copy(p, r.b[at%ringSize:])
	copy(p[n:], r.b)
}

// next returns the record at or after a place and the place behind it, or, when
// there is none yet, a channel that is closed when there is.
func (j *journal) next(at uint64) (rec *guest.LogRecord, behind uint64, more <-chan struct{}) {
	j.mu.Lock()
	defer j.mu.Unlock()
	at = max(at, j.first)
	if j.ring == nil || at >= j.ring.total {
		if j.wake == nil {
			j.wake = make(chan struct{})
		}
		return nil, at, j.wake
	}
	var h [recordHeader]byte
	j.ring.read(at, h[:])
	text := make([]byte, binary.BigEndian.Uint32(h[:]))
	j.ring.read(at+recordHeader, text)
	return &guest.LogRecord{
		Time: int64(binary.BigEndian.Uint64(h[4:])), ID: binary.BigEndian.Uint32(h[12:]), Kind: logKinds()[h[16]], Text: text,
	}, at + recordHeader + uint64(len(text)), nil
}

// send answers a Logs request: what is kept, a record that says that this was all,
// and with follow what comes, until the daemon goes.
func (j *journal) send(p *peer, follow bool) {
	if p.sendJSON(frame.Started, frame.StartedInfo{}) != nil {
		return
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		for {
			if _, _, err := p.r.Next(); err != nil {
				return
			}
		}
	}()
	told := false
	for at := uint64(0); ; {
		rec, behind, more := j.next(at)
		at = behind
		if rec == nil && !told {
			rec, told = &guest.LogRecord{Kind: guest.LogNow}, true
		}
		if rec == nil {
			if !follow {
				_ = p.sendJSON(frame.Exit, frame.ExitStatus{})
				return
			}
			select {
			case <-more:
				continue
			case <-gone:
				return
			}
		}
		line, err := json.Marshal(rec)
		if err != nil || p.send(frame.Stdout, append(line, '\n')) != nil {
			return
		}
	}
}
