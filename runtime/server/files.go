package server

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"cove/config"
	"cove/runtime/api"
)

// maxFiles is how many descriptors may come with one request: the directories
// of as many mounts as a sandbox may have.
const maxFiles = config.MaxMounts

// maxHeld is how many of them one uid but root may have with the daemon at a
// time, on all connections.
const maxHeld = 4 * maxFiles

// files are the descriptors that came with the first request of a connection
// (SCM_RIGHTS, unix(7)). They are taken in only until that request has been
// read: what comes afterwards the kernel drops, or it is closed at once.
//
// A peer may send what cannot be closed without its doing, a file of a FUSE file
// system of its own: closing it holds up its own connection, which counts
// against the peer until it is closed.
type files struct {
	// hold and release count them for the peer; hold says whether it may.
	hold    func(n int) bool
	release func(n int)

	mu     sync.Mutex
	held   int
	sealed bool
	got    []*os.File
	err    error // why what came cannot be used
}

// read is a Read that also takes what comes beside the bytes.
func (f *files) read(c *net.UnixConn, p []byte) (int, error) {
	oob := make([]byte, unix.CmsgSpace(4*maxFiles))
	// The descriptors are closed on exec: Go sets MSG_CMSG_CLOEXEC.
	n, k, flags, _, err := c.ReadMsgUnix(p, oob)
	if k > 0 {
		f.take(oob[:k], flags&unix.MSG_CTRUNC != 0)
	}
	if err == nil && n == 0 && len(p) > 0 {
		err = io.EOF // ReadMsgUnix does not say so
	}
	return n, err
}

// take keeps the descriptors of a control message, or closes them.
func (f *files) take(oob []byte, cut bool) {
	got, err := rights(oob)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.got = append(f.got, got...)
	may := f.hold(len(got))
	f.held += len(got)
	switch {
	case err != nil:
		f.err = err
	case !may:
		f.err = &api.Error{Code: api.CodeUnavailable, Message: fmt.Sprintf("you have more than %d open files with the daemon", maxHeld), Hint: "try again when other requests are done"}
	case cut || len(f.got) > maxFiles:
		f.err = invalid("more than %d open files came with the request", maxFiles)
	}
	if f.sealed || f.err != nil {
		f.drop()
	}
}

// drop closes what is there. The caller holds f.mu.
func (f *files) drop() {
	for _, g := range f.got {
		_ = g.Close()
	}
	f.got = nil
}

// seal takes no more, and gives what has come to its caller, who closes it. A
// second call gives nothing.
func (f *files) seal() ([]*os.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sealed = true
	got, err := f.got, f.err
	f.got = nil
	return got, err
}

func (f *files) isSealed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sealed
}

// close takes no more and closes what nobody took.
func (f *files) close() {
	got, _ := f.seal()
	closeFiles(got)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.release(f.held)
	f.held = 0
}

func closeFiles(list []*os.File) {
	for _, f := range list {
		_ = f.Close()
	}
}

// rights takes the descriptors out of control messages. Other kinds, which
// nobody asked the kernel for, are an error.
func rights(oob []byte) ([]*os.File, error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("read what came beside a request: %w", err)
	}
	var got []*os.File
	for i := range messages {
		fds, rerr := unix.ParseUnixRights(&messages[i])
		if rerr != nil {
			err = errors.Join(err, fmt.Errorf("read what came beside a request: %w", rerr))
			continue
		}
		for _, fd := range fds {
			got = append(got, os.NewFile(uintptr(fd), "of the caller's"))
		}
	}
	return got, err
}

// noFiles refuses a request with open files that has no use for them.
func (q *request) noFiles() error {
	if q.files == nil {
		return nil
	}
	got, err := q.files.seal()
	closeFiles(got)
	if err == nil && len(got) > 0 {
		err = &api.Error{Code: api.CodeInvalid, Message: fmt.Sprintf("%d open files came with a request that takes none", len(got))}
	}
	if err != nil {
		q.w.Header().Set("Connection", "close")
	}
	return err
}

// takeFiles gives the open files that came with a request whose body has been
// read; the caller closes them.
func (q *request) takeFiles() ([]*os.File, error) {
	if q.files == nil {
		return nil, nil
	}
	got, err := q.files.seal()
	if err != nil {
		q.w.Header().Set("Connection", "close")
		closeFiles(got)
		return nil, err
	}
	return got, nil
}
