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
const Chunk = 64 << 10

// StdinWindow is how many bytes of stdin a sender may have in flight before
// the first [Ack]; each Ack returns credit for bytes the program has taken.
const StdinWindow = 256 << 10

// ErrTooLarge is returned for a frame whose length is over [MaxPayload].
var ErrTooLarge = errors.New("frame is too large")

// HeaderLen is the length of a frame's header in bytes.
const HeaderLen = 5

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

// PutHeader writes the header of a frame with n bytes of payload into the
// first [HeaderLen] bytes of b: for a caller that reads a payload into
// b[HeaderLen:] and sends it without a copy. It panics when n is over [MaxPayload].
func PutHeader(b []byte, t Type, n int) {
	if n < 0 || n > MaxPayload {
		panic(fmt.Sprintf("frame: payload of %d bytes", n))
	}
	b[0] = byte(t)
	binary.BigEndian.PutUint32(b[1:HeaderLen], uint32(n))
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
