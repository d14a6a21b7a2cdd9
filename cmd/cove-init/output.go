package main

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"cove/runtime/frame"
)

// smallBuffer is what an output that is mostly quiet holds.
const smallBuffer = 2 << 10

// output sends what a program writes to a pipe as frames.
type output struct {
	f    *os.File
	t    frame.Type
	peer *peer
	done chan struct{}
	// keep, if not nil, gets all that is read.
	keep func([]byte)
}

func newOutput(f *os.File, t frame.Type, p *peer) *output {
	return &output{f: f, t: t, peer: p, done: make(chan struct{})}
}

// pump reads until the end of the file, or after end until nothing is left. A
// program whose reader is gone is read on, to nowhere.
func (o *output) pump() {
	defer close(o.done)
	buf := make([]byte, frame.HeaderLen+smallBuffer)
	for {
		n, err := o.f.Read(buf[frame.HeaderLen:])
		if n > 0 {
			o.send(buf, n)
		}
		switch {
		case err == nil:
			if n == smallBuffer {
				// More than a line now and then.
				buf = make([]byte, frame.HeaderLen+frame.Chunk)
				o.grow()
			}
		case errors.Is(err, os.ErrDeadlineExceeded):
			o.rest(buf)
			return
		default:
			_ = o.f.Close()
			return
		}
	}
}

func (o *output) grow() {
	o.control(func(fd int) { _, _ = unix.FcntlInt(uintptr(fd), unix.F_SETPIPE_SZ, bigPipe) })
}

func (o *output) control(f func(fd int)) {
	if rc, err := o.f.SyscallConn(); err == nil {
		_ = rc.Control(func(fd uintptr) { f(int(fd)) })
	}
}

func (o *output) send(buf []byte, n int) {
	if o.keep != nil {
		o.keep(buf[frame.HeaderLen : frame.HeaderLen+n])
	}
	if o.peer != nil && o.peer.sendData(o.t, buf, n) != nil {
		o.peer = nil
	}
}

// end is called when the program has ended. It returns when all that the
// program itself wrote has been sent. Processes that it left behind may still
// hold the pipe: what they write from now on goes nowhere, and does not kill
// them.
func (o *output) end() {
	_ = o.f.SetReadDeadline(time.Unix(1, 0))
	<-o.done
}

// rest sends what lies in the pipe now, and leaves the pipe to a discarder.
func (o *output) rest(buf []byte) {
	left, eof := 0, false
	o.control(func(fd int) { left, _ = unix.IoctlGetInt(fd, unix.TIOCINQ) })
	for left > 0 && !eof {
		n := 0
		o.control(func(fd int) {
			n, _ = unix.Read(fd, buf[frame.HeaderLen:][:min(left, len(buf)-frame.HeaderLen)])
		})
		if n <= 0 {
			break
		}
		o.send(buf, n)
		left -= n
	}
	_ = o.f.SetReadDeadline(time.Time{})
	go discard(o.f)
}

// discard reads a file to its end. Most pipes end at once; the goroutine of one
// that does not waits without a buffer.
func discard(f *os.File) {
	defer f.Close()
	rc, err := f.SyscallConn()
	if err != nil {
		return
	}
	for {
		ended := false
		err := rc.Read(func(fd uintptr) bool {
			var buf [4 << 10]byte
			for {
				n, err := unix.Read(int(fd), buf[:])
				switch {
				case errors.Is(err, unix.EINTR), n > 0:
					continue
				case errors.Is(err, unix.EAGAIN):
					return false
				}
				ended = true
				return true
			}
		})
		if err != nil || ended {
			return
		}
	}
}
