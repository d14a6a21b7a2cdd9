package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Sizes of a setup.log: its beginning and its end are kept, 1 MiB in all, for
// a step that prints without end fails at its end.
const (
	setupHead = 512 << 10
	setupTail = 512<<10 - 128 // less the line between them
)

// setupLog keeps what setup steps print, without the values of secrets. Only
// what is beyond its beginning waits for close to be written. That it cannot
// write fails no step.
type setupLog struct {
	file   *os.File
	red    *redactor
	head   int    // bytes written to the file
	end    []byte // what follows them, the last setupTail bytes of it at least
	left   int    // bytes between them
	recent []byte // the last that was printed, for lastLine
	err    error
}

// createSetupLog begins the log anew. path is the daemon's own.
func createSetupLog(path string, secrets map[string]string) (*setupLog, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	l := &setupLog{file: f}
	l.red = newRedactor(secrets, l.keep)
	return l, nil
}

// continueSetupLog goes on with a log that was begun.
func continueSetupLog(path string, secrets map[string]string) (*setupLog, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	n, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	l := &setupLog{file: f, head: int(min(n, setupHead))}
	l.red = newRedactor(secrets, l.keep)
	return l, nil
}

// rewind forgets what was printed since the log had n bytes, if it still can.
func (l *setupLog) rewind(n int) {
	l.red.flush()
	if n >= setupHead || l.err != nil {
		return
	}
	if l.err = l.file.Truncate(int64(n)); l.err == nil {
		_, l.err = l.file.Seek(int64(n), io.SeekStart)
	}
	l.head, l.end, l.left, l.recent = n, nil, 0, nil
}

// Write takes what a step prints.
func (l *setupLog) Write(p []byte) (int, error) {
	l.red.write(p)
	return len(p), nil
}

// note adds a line of the daemon's own, at the beginning of a line.
func (l *setupLog) note(format string, args ...any) {
	l.red.flush()
	if n := len(l.recent); n > 0 && l.recent[n-1] != '\n' {
		l.keep([]byte("\n"))
	}
	l.keep(fmt.Appendf(nil, "cove: "+format+"\n", args...))
	l.recent = l.recent[:0]
}

// recentSize is how much of the end a last line is looked for in.
const recentSize = 4 << 10

func (l *setupLog) keep(p []byte) {
	l.recent = last(append(l.recent, p...), recentSize)
	n := min(len(p), setupHead-l.head)
	if n > 0 && l.err == nil {
		_, l.err = l.file.Write(p[:n])
	}
	l.head += n
	had := len(l.end) + len(p) - n
	l.end = last(append(l.end, p[n:]...), setupTail)
	l.left += had - len(l.end)
}

// last keeps the last n bytes of b at least, and cuts it rarely.
func last(b []byte, n int) []byte {
	if len(b) > 2*n {
		b = append(b[:0], b[len(b)-n:]...)
	}
	return b
}

// lastLine is the last line that a step printed, fit to stand in an error.
func (l *setupLog) lastLine() string {
	text := bytes.TrimSpace(l.recent)
	return oneLine(string(text[bytes.LastIndexByte(text, '\n')+1:]))
}

func (l *setupLog) close() error {
	l.red.flush()
	if over := len(l.end) - setupTail; over > 0 {
		l.left += over
		l.end = l.end[over:]
	}
	if l.left > 0 {
		l.end = append(fmt.Appendf(nil, "\ncove: %d bytes are left out here\n", l.left), l.end...)
	}
	if l.err == nil && len(l.end) > 0 {
		_, l.err = l.file.Write(l.end)
	}
	return errors.Join(l.err, l.file.Close())
}
