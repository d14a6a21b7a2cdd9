package frame

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Sizes of a Reader's buffer: it starts small, because most streams are idle,
// and grows to hold a full data frame and the next one's beginning.
const (
	minBuffer = 2 << 10
	maxBuffer = 2 * (Chunk + HeaderLen)
)

// maxEmptyReads bounds reads that return nothing and no error.
const maxEmptyReads = 64

// Reader reads frames from a stream; it buffers. It is for one goroutine.
type Reader struct {
	r          io.Reader
	buf        []byte
	start, end int // what was read and not yet handed out
	frame      []byte
}

// NewReader returns a Reader on r. Bytes after the frames that were asked for
// may have been read from r too.
func NewReader(r io.Reader) *Reader { return &Reader{r: r} }

// Next returns the next frame. The payload is valid until the next call. It
// returns io.EOF at a clean end between frames, io.ErrUnexpectedEOF inside
// one, and an error that is [ErrTooLarge] for a length out of bounds.
func (r *Reader) Next() (Type, []byte, error) {
	r.frame = nil
	if err := r.fill(HeaderLen); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(r.buf[r.start+1:])
	if n > MaxPayload {
		return 0, nil, fmt.Errorf("%w: %d bytes", ErrTooLarge, n)
	}
	total := HeaderLen + int(n)
	if err := r.fill(total); err != nil {
		return 0, nil, err
	}
	r.frame = r.buf[r.start : r.start+total : r.start+total]
	r.start += total
	return Type(r.frame[0]), r.frame[HeaderLen:], nil
}

// Raw returns the frame of the last successful Next with its header, so that a
// relay passes it on as it is. It is valid until the next call of Next.
func (r *Reader) Raw() []byte { return r.frame }

// fill makes n bytes lie in the buffer from r.start on.
func (r *Reader) fill(n int) error {
	if r.end-r.start >= n {
		return nil
	}
	if r.start == r.end {
		r.start, r.end = 0, 0
	}
	if len(r.buf)-r.start < n {
		buf := r.buf
		if len(buf) < n {
			buf = make([]byte, max(n, minBuffer))
		}
		r.end = copy(buf, r.buf[r.start:r.end])
		r.buf, r.start = buf, 0
	}
	for empty := 0; r.end-r.start < n; {
		got, err := r.r.Read(r.buf[r.end:])
		r.end += got
		if r.end-r.start >= n {
			break
		}
		switch {
		case err != nil:
			if errors.Is(err, io.EOF) && r.end > r.start {
				return io.ErrUnexpectedEOF
			}
			return err
		case got > 0:
			empty = 0
		default:
			if empty++; empty == maxEmptyReads {
				return io.ErrNoProgress
			}
		}
	}
	// A read that filled the buffer means that more is waiting.
	if r.end == len(r.buf) && len(r.buf) < maxBuffer {
		buf := make([]byte, min(len(r.buf)*4, maxBuffer))
		r.end = copy(buf, r.buf[r.start:r.end])
		r.buf, r.start = buf, 0
	}
	return nil
}
