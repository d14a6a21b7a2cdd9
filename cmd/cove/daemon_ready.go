package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// errDaemonBusy is what runDaemon returns (wrapped) when another daemon holds
// the state directory: whoever asked for a daemon has one, or will have it in
// a moment.
var errDaemonBusy = errors.New("the daemon runs already")

// The words of the one line a starting daemon writes to whoever started it.
const (
	wordReady = "ready"
	wordBusy  = "busy"
	wordError = "error"
)

// readiness is the daemon's end of the pipe on which its starter waits. The
// nil readiness (nobody waits) is valid.
type readiness struct{ pipe *os.File }

// newReadiness takes over an inherited file descriptor; 0 means that nobody
// waits.
func newReadiness(fd int) (*readiness, error) {
	if fd == 0 {
		return nil, nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFIFO {
		return nil, usagef("--ready-fd %d is not a pipe", fd)
	}
	return &readiness{os.NewFile(uintptr(fd), "ready")}, nil
}

// seal keeps the pipe from what the daemon runs: it would keep the starter of a
// daemon that dies waiting.
func (r *readiness) seal() {
	if r != nil && r.pipe != nil {
		unix.CloseOnExec(int(r.pipe.Fd()))
	}
}

// ready says that the daemon answers on its socket. Later calls do nothing.
func (r *readiness) ready() error { return r.say(wordReady, "") }

// failed says why the daemon never will.
func (r *readiness) failed(err error) error {
	word := wordError
	if errors.Is(err, errDaemonBusy) {
		word = wordBusy
	}
	return r.say(word, oneLine(err.Error()))
}

func (r *readiness) say(word, msg string) error {
	if r == nil || r.pipe == nil {
		return nil
	}
	_, err := io.WriteString(r.pipe, strings.TrimSpace(word+" "+msg)+"\n")
	if errors.Is(err, unix.EPIPE) {
		// The starter was interrupted; the daemon runs all the same.
		err = nil
	}
	err = errors.Join(err, r.pipe.Close())
	r.pipe = nil
	return err
}

// awaitReady reads what a starting daemon has to say. It returns nil when the
// daemon is ready, an error that wraps errDaemonBusy when there is another,
// io.EOF when it ended without a word.
func awaitReady(pipe io.Reader) error {
	line, err := bufio.NewReader(io.LimitReader(pipe, 64<<10)).ReadString('\n')
	if err != nil {
		return err
	}
	word, msg, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
	switch word {
	case wordReady:
		return nil
	case wordBusy:
		return fmt.Errorf("%w: %s", errDaemonBusy, msg)
	}
	return errors.New(msg)
}
