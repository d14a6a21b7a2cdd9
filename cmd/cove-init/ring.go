package main

import (
	"bytes"

	"golang.org/x/sys/unix"
)

// ringSize is how much of a session's output is kept.
const ringSize = 1 << 20

// ring keeps the last output of a session. Its memory is mapped, not
// allocated: pages that were never written cost nothing, and all goes back to
// the system with the session.
type ring struct {
	b     []byte
	total uint64 // bytes ever written
}

func newRing() (*ring, error) {
	b, err := unix.Mmap(-1, 0, ringSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, err
	}
	// Huge pages would make the first byte cost all of it.
	_ = unix.Madvise(b, unix.MADV_NOHUGEPAGE)
	return &ring{b: b}, nil
}

func (r *ring) write(p []byte) {
	if len(p) > ringSize {
		r.total += uint64(len(p) - ringSize)
		p = p[len(p)-ringSize:]
	}
	for len(p) > 0 {
		n := copy(r.b[r.total%ringSize:], p)
		r.total += uint64(n)
		p = p[n:]
	}
}

// last returns the end of what was written: the given number of lines, begun at
// a line's beginning, and at most limit bytes. When there is no line's
// beginning within limit, it begins behind a carriage return or before an
// escape sequence, if there is one.
func (r *ring) last(lines, limit int) []byte {
	n := int(min(uint64(min(limit, ringSize)), r.total))
	out := make([]byte, n)
	at := (r.total - uint64(n)) % ringSize
	k := copy(out, r.b[at:])
	copy(out[k:], r.b)
	whole := uint64(n) == r.total
	start := len(out)
	for range lines + 1 {
		i := bytes.LastIndexByte(out[:start], '\n')
		if i < 0 {
			if whole {
				return out
			}
			break
		}
		start = i
	}
	switch {
	case start < len(out):
		return out[start+1:]
	case bytes.IndexByte(out, '\r') >= 0:
		return out[bytes.IndexByte(out, '\r')+1:]
	case bytes.IndexByte(out, 0x1b) >= 0:
		return out[bytes.IndexByte(out, 0x1b):]
	}
	return out
}

func (r *ring) close() { _ = unix.Munmap(r.b) }
