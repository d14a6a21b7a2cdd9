package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"cove/runtime/frame"
)

// ackStep is how many bytes are taken before the daemon is told: a quarter of
// the window, so that it never waits for credit that is on its way.
const ackStep = frame.StdinWindow / 4

// bigPipe is the size of a pipe that much goes through.
const bigPipe = 256 << 10

const eot = 0x04

var errWindow = errors.New("more stdin than the window allows")

// stdin gives a program the daemon's Stdin frames. put never blocks, so that
// frames of control behind them are not held up; the credit window bounds what
// is kept.
type stdin struct {
	q   *queue
	ack func(frame.Type, []byte) error
	// closes: the end of the input is the end of the file. Otherwise the
	// file is a terminal.
	closes bool
	grown  bool
	column int          // bytes since the last line's end in the last payload
	owed   atomic.Int64 // taken, and not acknowledged yet
}

func newStdin(f *os.File, ack func(frame.Type, []byte) error, closes bool) (*stdin, error) {
	s := &stdin{ack: ack, closes: closes}
	q, err := newQueue(f, s.taken)
	if err != nil {
		return nil, err
	}
	s.q = q
	return s, nil
}

// taken acknowledges bytes that the program's side has.
func (s *stdin) taken(n int) {
	if s.owed.Add(int64(n)) < ackStep {
		return
	}
	if n := s.owed.Swap(0); n > 0 {
		_ = s.ack(frame.Ack, binary.BigEndian.AppendUint32(nil, uint32(n)))
	}
}

// put passes on the payload of a Stdin frame.
func (s *stdin) put(p []byte) error {
	if len(p) == 0 {
		if s.closes {
			s.q.end(func() { _ = s.q.f.Close() })
		} else {
			// What a person types for it (VEOF; stty may have changed it);
			// within a line the first one only ends the line.
			s.q.put([]byte{eot, eot}[:1+min(s.column, 1)])
			s.column = 0
		}
		return nil
	}
	s.column = len(p) - 1 - bytes.LastIndexByte(p, '\n')
	waits := s.q.put(p)
	if waits > frame.StdinWindow {
		return errWindow
	}
	if waits > 0 && s.closes && !s.grown {
		s.grown = true
		_ = s.q.rc.Control(func(fd uintptr) { _, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, bigPipe) })
	}
	return nil
}
