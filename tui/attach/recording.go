package attach

import "bytes"

// recorded is how much of the session's own screen is kept to draw it again:
// some screenfuls of coloured text.
const recorded = 128 << 10

// recording is the tail of what was drawn while no full-screen program had
// the screen. It holds whole sequences only and no questions, so it can be
// drawn any number of times.
type recording struct {
	buf   []byte
	start int // bytes before it are forgotten
}

func (r *recording) add(b []byte) {
	r.buf = append(r.buf, b...)
	if len(r.buf)-r.start <= recorded {
		return
	}
	// Forget whole lines, so that what is left begins at the left edge.
	from := len(r.buf) - recorded
	if i := bytes.IndexByte(r.buf[from:], '\n'); i >= 0 {
		from += i + 1
	}
	r.start = from
	if r.start > 2*recorded { // move seldom, so that adding stays cheap
		r.buf = append(r.buf[:0], r.buf[r.start:]...)
		r.start = 0
	}
}

// cleared forgets what a program has just wiped off the screen.
func (r *recording) cleared(alt bool) {
	if !alt {
		r.clear()
	}
}

func (r *recording) clear() { r.buf, r.start = r.buf[:0], 0 }

func (r *recording) bytes() []byte { return r.buf[r.start:] }
