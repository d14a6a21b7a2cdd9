package server

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// TakerName is the name, in place of the program's, under which a process of
// this program is the child that takes the open files of a request: it calls
// [Taker] and exits.
const TakerName = "cove-take-directories"

const (
	// maxTakers is how many children may be there for one user at a time. One
	// that cannot end counts until whatever it waits for is gone.
	maxTakers = 64
	// takeTimeout is what a child may take.
	takeTimeout = 10 * time.Second
)

// What a child found, the first byte of its answer. What was read of the
// connection follows, and with tookAll the descriptors.
const (
	tookAll = iota
	tookTooMany
	tookNoDirectory
	tookFUSE
)

// takers start the children and count them.
type takers struct {
	mu    sync.Mutex
	count map[int]int // by uid
}

func newTakers() *takers { return &takers{count: map[int]int{}} }

func (t *takers) begin(uid int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.count[uid] >= maxTakers {
		return false
	}
	t.count[uid]++
	return true
}

func (t *takers) end(uid int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.count[uid]--; t.count[uid] == 0 {
		delete(t.count, uid)
	}
}

// errBusy: one user has as many children as may be. Nothing has been read.
var errBusy = errors.New("too many requests with open files at once")

// take has a child read from c, up to len(p) bytes and what comes beside them,
// and gives both, the bytes also with an *[api.Error], which refuses what came
// beside. After another error nothing more can be read.
func (t *takers) take(c *net.UnixConn, uid int, p []byte) (n int, got []*os.File, err error) {
	if !t.begin(uid) {
		return 0, nil, errBusy
	}
	ours, child, err := t.start(c, uid, len(p))
	if err != nil {
		return 0, nil, fmt.Errorf("start the child that takes open files: %w", err)
	}
	defer func() {
		_ = ours.Close()
		if err != nil {
			_ = child.Kill()
		}
	}()
	if err := ours.SetReadDeadline(time.Now().Add(takeTimeout)); err != nil {
		return 0, nil, err
	}
	buf, oob := make([]byte, 1+len(p)), make([]byte, unix.CmsgSpace(4*maxFiles))
	n, k, _, _, err := ours.ReadMsgUnix(buf, oob)
	if err == nil && n == 0 {
		err = errors.New("it has ended")
	}
	if err == nil && k > 0 {
		got, err = rights(oob[:k])
	}
	if err != nil {
		closeFiles(got)
		return 0, nil, fmt.Errorf("ask the child that takes open files: %w", err)
	}
	n = copy(p, buf[1:n])
	switch buf[0] {
	case tookTooMany:
		return n, nil, errTooMany()
	case tookNoDirectory:
		return n, nil, invalid("what came with the request is not an open directory")
	case tookFUSE:
		return n, nil, invalid("what came with the request lies on a FUSE file system, and only root may mount those: a user's own need never answer")
	}
	return n, got, nil
}

// start starts a child for c. It counts until it has ended.
func (t *takers) start(c *net.UnixConn, uid, size int) (_ *net.UnixConn, child *os.Process, err error) {
	started := false
	defer func() {
		if !started {
			t.end(uid)
		}
	}()
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, nil, err
	}
	defer unix.Close(theirs)
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, nil, errors.Join(err, ours.Close())
	}
	var pid int
	var ferr error
	// Not by os/exec, which would make the connection one that blocks: the
	// child has the same.
	err = raw.Control(func(fd uintptr) {
		pid, ferr = syscall.ForkExec("/proc/self/exe", []string{TakerName, strconv.Itoa(size)}, &syscall.ProcAttr{
			Dir: "/", Env: []string{"GOMAXPROCS=1"}, Files: []uintptr{fd, uintptr(theirs)},
			Sys: &syscall.SysProcAttr{Setsid: true},
		})
	})
	if err = errors.Join(err, ferr); err != nil {
		return nil, nil, errors.Join(err, ours.Close())
	}
	started = true
	child, err = os.FindProcess(pid) // which is ours to wait for: it is there
	go func() {
		defer t.end(uid)
		if child != nil {
			_, _ = child.Wait()
		}
	}()
	if err != nil {
		return nil, nil, errors.Join(err, ours.Close())
	}
	return ours, child, nil
}

// socketPair makes a pair of sockets that keep messages apart.
func socketPair() (ours *net.UnixConn, theirs int, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, -1, fmt.Errorf("make a pair of sockets: %w", err)
	}
	f := os.NewFile(uintptr(fds[0]), "taker")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, -1, errors.Join(err, unix.Close(fds[1]))
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		return nil, -1, errors.Join(errors.New("not a unix socket"), c.Close(), unix.Close(fds[1]))
	}
	return u, fds[1], nil
}

// Taker is the child: it reads once from the connection that is its standard
// input, as much as its argument says, and tells on its standard output what it
// got. It returns the exit status. It may never end: then it hangs alone.
func Taker(args []string) int {
	if len(args) != 2 {
		return 2
	}
	size, err := strconv.Atoi(args[1])
	if err != nil || size <= 0 || size > 1<<20 {
		return 2
	}
	buf, oob := make([]byte, 1+size), make([]byte, unix.CmsgSpace(4*maxFiles))
	n, k, flags, _, err := unix.Recvmsg(0, buf[1:], oob, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return 1
	}
	var out []byte
	buf[0], out = judge(oob[:k], flags&unix.MSG_CTRUNC != 0)
	if err := unix.Sendmsg(1, buf[:1+n], out, nil, 0); err != nil {
		return 1
	}
	return 0
}

// judge says what of the descriptors of a control message the daemon gets.
func judge(oob []byte, cut bool) (verdict byte, out []byte) {
	if cut {
		return tookTooMany, nil
	}
	var fds []int
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return tookNoDirectory, nil
	}
	for i := range messages {
		got, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return tookNoDirectory, nil
		}
		fds = append(fds, got...)
	}
	if len(fds) > maxFiles {
		return tookTooMany, nil
	}
	for _, fd := range fds {
		var st unix.Stat_t
		if unix.Fstat(fd, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR {
			return tookNoDirectory, nil
		}
		// Its server may answer here and then never again, and whoever waits
		// for it cannot be killed. The daemon must not be the one who does.
		var fs unix.Statfs_t
		if unix.Fstatfs(fd, &fs) != nil || fs.Type == unix.FUSE_SUPER_MAGIC {
			return tookFUSE, nil
		}
	}
	if len(fds) == 0 {
		return tookAll, nil
	}
	return tookAll, unix.UnixRights(fds...)
}
