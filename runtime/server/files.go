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

// files are the descriptors that came with the first byte of a connection
// (SCM_RIGHTS, unix(7)). Those that come later the kernel drops, and so it does
// with those of who may not use the daemon.
//
// To close a descriptor can take for ever: of a file on a FUSE file system the
// kernel waits for the answer of whoever serves it, and nothing ends that wait,
// not even SIGKILL. A process that waits so keeps its locks. Whoever may connect
// could hold up the daemon for good, so none of a user's descriptors is in the
// daemon before another process ([Taker]) has seen that it is a directory: to
// close that waits for nobody.
type files struct {
	// hold and release count them for the peer; hold says whether it may.
	hold    func(n int) bool
	release func(n int)
	// taker is nil for root's connections, who needs no such tricks.
	taker *takers
	uid   int
	// allowed tells whether any may be taken at all.
	allowed func() bool

	mu     sync.Mutex
	held   int
	begun  bool // the first byte has been read
	sealed bool
	got    []*os.File
	err    error // why what came cannot be used
}

// read is a Read that also takes what comes beside the first byte.
func (f *files) read(c *net.UnixConn, p []byte) (int, error) {
	if len(p) == 0 || f.begin() {
		return f.readBytes(c, p)
	}
	if f.taker == nil {
		oob := make([]byte, unix.CmsgSpace(4*maxFiles))
		// The descriptors are closed on exec: Go sets MSG_CMSG_CLOEXEC.
		n, k, flags, _, err := c.ReadMsgUnix(p, oob)
		if k > 0 {
			got, err := rights(oob[:k])
			f.take(got, flags&unix.MSG_CTRUNC != 0, err)
		}
		return ended(n, err)
	}
	some, err := accompanied(c)
	if err != nil {
		return 0, err
	}
	if !some || !f.allowed() {
		return f.readBytes(c, p)
	}
	n, got, err := f.taker.take(c, f.uid, p)
	if errors.Is(err, errBusy) {
		f.take(nil, false, &api.Error{Code: api.CodeUnavailable, Message: "too many of your requests bring open files along: try again when some are done"})
		return f.readBytes(c, p)
	}
	if refused, ok := errors.AsType[*api.Error](err); ok {
		f.take(nil, false, refused)
		return ended(n, nil)
	}
	f.take(got, false, nil)
	return n, err
}

// begin tells whether something has been read already. From now on it has.
func (f *files) begin() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	was := f.begun
	f.begun = true
	return was
}

// readBytes reads with no room for descriptors: the kernel drops them, which
// waits for nobody.
func (f *files) readBytes(c *net.UnixConn, p []byte) (int, error) {
	n, _, flags, _, err := c.ReadMsgUnix(p, nil)
	if flags&unix.MSG_CTRUNC != 0 {
		f.take(nil, false, invalid("open files came with the request, but not with its first byte"))
	}
	return ended(n, err)
}

// ended gives the end of a stream its name, which ReadMsgUnix does not.
func ended(n int, err error) (int, error) {
	if err == nil && n == 0 {
		err = io.EOF
	}
	return n, err
}

// accompanied waits for the first byte, leaves it there, and tells whether
// descriptors come with it: without room for them the kernel says so, and
// nothing is opened (MSG_CTRUNC, recvmsg(2)).
func accompanied(c *net.UnixConn) (bool, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return false, err
	}
	var flags int
	var rerr error
	err = raw.Read(func(fd uintptr) bool {
		_, _, flags, _, rerr = unix.Recvmsg(int(fd), make([]byte, 1), nil, unix.MSG_PEEK|unix.MSG_DONTWAIT)
		return !errors.Is(rerr, unix.EAGAIN) && !errors.Is(rerr, unix.EINTR)
	})
	if err == nil {
		err = rerr
	}
	// As it is: that it is a net.Error is what the HTTP server goes by.
	return flags&unix.MSG_CTRUNC != 0, err
}

// take keeps descriptors, or closes them where they are too many, more than were
// cut off, or err says why they cannot be used.
func (f *files) take(got []*os.File, cut bool, err error) {
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
		f.err = errTooMany()
	}
	if f.sealed || f.err != nil {
		f.drop()
	}
}

func errTooMany() error {
	return invalid("more than %d open files came with the request", maxFiles)
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
