package volume

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// OpenerName is the name, in place of the program's, under which a process of
// this program is the child that opens directories: it calls [Opener] and
// exits.
const OpenerName = "cove-open-directories"

// reapGrace is how long a killed child may take to go: one that waits for a
// file system of the network may take for ever.
const reapGrace = time.Second

// opening is what the child is asked for.
type opening struct {
	UID    uint32   `json:"uid"`
	Groups []uint32 `json:"groups"` // the primary one first
	Paths  []string `json:"paths"`
	// Like: what is opened has to be the directory of descriptor 4.
	Like bool `json:"like,omitempty"`
}

// opened is a directory that the child opened, or why it could not.
type opened struct {
	dir *os.File
	err error
}

func (o opened) close() {
	if o.dir != nil {
		_ = o.dir.Close()
	}
}

func closeOpened(list []opened) {
	for _, o := range list {
		o.close()
	}
}

// openAs opens directories as a user, by a child that has that user's ids and
// nothing else, and gives the results in the order of paths. The caller closes
// them. With like, which may be nil, each has to be that directory, which only the
// child looks at; EXDEV where one is not. done is called when the child has ended, which may be long afterwards.
func openAs(ctx context.Context, who account, paths []string, like *os.File, done func()) (_ []opened, err error) {
	started := false
	defer func() {
		if !started {
			done()
		}
	}()
	request, err := json.Marshal(opening{UID: who.uid, Groups: who.gids, Paths: paths, Like: like != nil})
	if err != nil {
		return nil, fmt.Errorf("encode the request: %w", err)
	}
	conn, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	defer theirs.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()

	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Args = []string{OpenerName}
	cmd.Env = []string{"GOMAXPROCS=1"}
	cmd.Dir = "/"
	cmd.Stdin = bytes.NewReader(request)
	cmd.ExtraFiles = []*os.File{theirs}
	if like != nil {
		cmd.ExtraFiles = append(cmd.ExtraFiles, like)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the child that opens directories: %w", err)
	}
	started = true
	ended := make(chan struct{})
	go func() {
		defer done()
		// Its status says nothing that its answers do not.
		_ = cmd.Wait()
		close(ended)
	}()
	_ = theirs.Close()
	defer func() {
		cancel()
		select {
		case <-ended:
		case <-time.After(reapGrace):
		}
	}()
	results := make([]opened, 0, len(paths))
	for range paths {
		o, err := receive(conn)
		if err != nil {
			closeOpened(results)
			if ctx.Err() != nil {
				return nil, fmt.Errorf("a file system does not answer: %w", context.Cause(ctx))
			}
			return nil, fmt.Errorf("ask the child that opens directories: %w", err)
		}
		results = append(results, o)
	}
	return results, nil
}

// socketPair makes a pair of sockets that keep messages apart.
func socketPair() (*net.UnixConn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make a pair of sockets: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "opener"), os.NewFile(uintptr(fds[1]), "opener")
	defer ours.Close()
	c, err := net.FileConn(ours)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("make a pair of sockets: %w", err), theirs.Close())
	}
	conn, ok := c.(*net.UnixConn)
	if !ok {
		return nil, nil, errors.Join(errors.New("make a pair of sockets: not a unix socket"), c.Close(), theirs.Close())
	}
	return conn, theirs, nil
}

// receive takes one answer: an errno, 0 with the directory.
func receive(conn *net.UnixConn) (opened, error) {
	buf, oob := make([]byte, 5), make([]byte, unix.CmsgSpace(4))
	n, k, flags, _, err := conn.ReadMsgUnix(buf, oob)
	if err != nil {
		return opened{}, err
	}
	files, err := rights(oob[:k])
	if err == nil && (n != 4 || flags&unix.MSG_CTRUNC != 0 || len(files) > 1) {
		err = errors.New("it answers what it was not asked")
	}
	errno := unix.Errno(0)
	if err == nil {
		errno = unix.Errno(binary.BigEndian.Uint32(buf))
		if (errno == 0) != (len(files) == 1) {
			err = errors.New("it answers what it was not asked")
		}
	}
	if err != nil {
		for _, f := range files {
			_ = f.Close()
		}
		return opened{}, err
	}
	if errno != 0 {
		return opened{err: errno}, nil
	}
	return opened{dir: files[0]}, nil
}

// rights takes the descriptors out of a control message.
func rights(oob []byte) ([]*os.File, error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("read a control message: %w", err)
	}
	var files []*os.File
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			continue // no descriptors in this one
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "directory"))
		}
	}
	return files, nil
}

// Opener is the child: it takes its request from standard input, becomes the
// user for good, opens each directory for reading and sends it over descriptor
// 3. It returns the exit status.
func Opener() int {
	if err := serveOpening(); err != nil {
		return 1
	}
	return 0
}

// maxOpening is the largest request, in bytes: the longest paths of the most
// mounts, as JSON.
const maxOpening = 4 << 20

func serveOpening() error {
	text, err := io.ReadAll(io.LimitReader(os.Stdin, maxOpening))
	if err != nil {
		return err
	}
	var r opening
	if err := json.Unmarshal(text, &r); err != nil {
		return err
	}
	if err := become(r.UID, r.Groups); err != nil {
		return err
	}
	for _, p := range r.Paths {
		// Links on the way are the user's to make: who is at their end is
		// the daemon's to check. Not to wait for a pipe or a terminal.
		fd, err := unix.Openat2(unix.AT_FDCWD, p, &unix.OpenHow{
			Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC | unix.O_NONBLOCK | unix.O_NOCTTY,
			Resolve: unix.RESOLVE_NO_MAGICLINKS,
		})
		if err == nil && r.UID != 0 {
			err = notFUSE(fd)
		}
		if err == nil && r.Like {
			err = same(fd, 4)
		}
		var errno unix.Errno
		var oob []byte
		if err == nil {
			oob = unix.UnixRights(fd)
		} else if !errors.As(err, &errno) {
			errno = unix.EIO
		}
		err = unix.Sendmsg(3, binary.BigEndian.AppendUint32(nil, uint32(errno)), oob, nil, 0)
		if fd >= 0 {
			_ = unix.Close(fd)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// errFUSE is how the child says that a directory of a user's lies on a FUSE file
// system. Its server may answer the child and then never again, and whoever
// waits for that cannot be killed: not for the daemon.
const errFUSE = unix.ENOTSUP

// notFUSE is errFUSE where the directory lies on such a file system.
func notFUSE(fd int) error {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return err
	}
	if fs.Type == unix.FUSE_SUPER_MAGIC {
		return errFUSE
	}
	return nil
}

// same is EXDEV where the two are not one directory.
func same(a, b int) error {
	var one, other unix.Stat_t
	if err := errors.Join(unix.Fstat(a, &one), unix.Fstat(b, &other)); err != nil {
		return err
	}
	if one.Dev != other.Dev || one.Ino != other.Ino {
		return unix.EXDEV
	}
	return nil
}

// become gives the process the user's ids, all of them and for good; the
// kernel then lets nobody but root trace it (PR_SET_DUMPABLE(2const)).
func become(uid uint32, groups []uint32) error {
	if len(groups) == 0 {
		return errors.New("no group")
	}
	gids := make([]int, len(groups))
	for i, g := range groups {
		gids[i] = int(g)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	// Those of package syscall change all threads.
	if err := syscall.Setgroups(gids); err != nil {
		return err
	}
	if err := syscall.Setresgid(gids[0], gids[0], gids[0]); err != nil {
		return err
	}
	return syscall.Setresuid(int(uid), int(uid), int(uid))
}
