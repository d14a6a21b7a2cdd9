// Package frame is the framing of exec and attach streams: between a client
// and the daemon (after the HTTP upgrade) and between the daemon and PID 1 of
// a sandbox. A frame is one byte of type, four bytes of length (big endian)
// and the payload. Both ends treat the other as hostile: a length over
// [MaxPayload] ends the stream.
package frame

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Type says what a frame's payload is.
type Type byte

// The types of frames. Control payloads are JSON.
const (
	Hello   Type = 1  // guest -> daemon: guest.Hello, first on every connection
	Request Type = 2  // daemon -> guest: guest.Request
	Reply   Type = 3  // guest -> daemon: guest.Reply
	Stdin   Type = 10 // raw bytes; an empty payload is end of file
	Stdout  Type = 11 // raw bytes
	Stderr  Type = 12 // raw bytes
	Resize  Type = 13 // two big-endian uint16: columns, rows
	Signal  Type = 14 // one byte: signal number
	Ack     Type = 15 // big-endian uint32: so many stdin bytes more may be sent
	Exit    Type = 16 // JSON Exit: the last frame of a stream
	Started Type = 17 // JSON Started: the program or session runs
)

// MaxPayload is the largest payload of one frame, in bytes: room for a request
// with a long command line. Data frames stay at or below [Chunk].
const MaxPayload = 1 << 20

// Chunk is how many bytes of stdin or output a sender puts into one frame.
const Chunk = 32 << 10

// StdinWindow is how many bytes of stdin a sender may have in flight before
// the first [Ack]; each Ack returns credit for bytes the program has taken.
const StdinWindow = 256 << 10

// ErrTooLarge is returned for a frame whose length is over [MaxPayload].
var ErrTooLarge = errors.New("frame is too large")

const headerLen = 5

// Append appends one frame to b and returns the extended slice. It panics when
// payload is longer than [MaxPayload]: the caller splits.
func Append(b []byte, t Type, payload []byte) []byte {
	if len(payload) > MaxPayload {
		panic(fmt.Sprintf("frame: payload of %d bytes", len(payload)))
	}
	b = append(b, byte(t), 0, 0, 0, 0)
	binary.BigEndian.PutUint32(b[len(b)-4:], uint32(len(payload)))
	return append(b, payload...)
}

// Reader reads frames from a stream. It is for one goroutine.
type Reader struct {
	r   io.Reader
	hdr [headerLen]byte
	buf []byte
}

// NewReader returns a Reader on r, which should be buffered when frames are small.
func NewReader(r io.Reader) *Reader { return &Reader{r: r} }

// Next returns the next frame. The payload is valid until the next call. It
// returns io.EOF at a clean end between frames, io.ErrUnexpectedEOF inside
// one, and [ErrTooLarge] for a length out of bounds.
func (r *Reader) Next() (Type, []byte, error) {
	if _, err := io.ReadFull(r.r, r.hdr[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(r.hdr[1:])
	if n > MaxPayload {
		return 0, nil, fmt.Errorf("%w: %d bytes", ErrTooLarge, n)
	}
	if cap(r.buf) < int(n) {
		r.buf = make([]byte, n)
	}
	r.buf = r.buf[:n]
	if _, err := io.ReadFull(r.r, r.buf); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, err
	}
	return Type(r.hdr[0]), r.buf, nil
}

// ExitReason says why a program ended, when its wait status alone does not.
type ExitReason string

// The reasons of an exit.
const (
	ReasonNone    ExitReason = ""
	ReasonTimeout ExitReason = "timeout" // killed when its time was up
	ReasonOOM     ExitReason = "oom"     // killed by the kernel for memory
	ReasonGone    ExitReason = "gone"    // the sandbox ended below it
)

// ExitStatus is the payload of an [Exit] frame.
type ExitStatus struct {
	// Code is what a shell would report: the status, or 128 + signal.
	Code int `json:"code"`
	// Signal is the number of the signal that ended the program, or 0.
	Signal int        `json:"signal,omitempty"`
	Reason ExitReason `json:"reason,omitempty"`
	// Error is set when the program could not be started at all (code 126
	// or 127), in words for a person.
	Error string `json:"error,omitempty"`
}

// StartedInfo is the payload of a [Started] frame.
type StartedInfo struct {
	Pid int `json:"pid"` // in the sandbox's pid namespace
	// Session is the name of the terminal session, Created whether this
	// request made it, Seq the sequence number (bytes of output since the
	// session began) of the first byte of the live stream that follows.
	Session string `json:"session,omitempty"`
	Created bool   `json:"created,omitempty"`
	Seq     uint64 `json:"seq,omitempty"`
}
