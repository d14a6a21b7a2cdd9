package server

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"cove/runtime/api"
)

// maxSocketPath is the longest path that a socket address holds: sun_path is
// 108 bytes with the NUL (unix(7)).
const maxSocketPath = 107

// newName is what the socket is called until it listens.
const newName = api.SocketName + ".new"

// Listener is the daemon's socket.
type Listener struct {
	*net.UnixListener
	path     string
	dir      *os.File
	dev, ino uint64
	close    sync.Once
}

// Listen makes the socket of api.SocketName in runDir, connectable by all: who
// may do what is decided at each request. The caller holds the daemon's lock
// from before Listen until after Close, so that a socket that is there already
// is a dead daemon's, and is replaced. runDir must belong to this process's user
// and be writable by nobody else, for who can replace the socket can be the
// daemon. The path may have any length.
//
// The socket gets its name when it listens: nobody is refused while it begins.
func Listen(runDir string) (*Listener, error) {
	dir, err := os.OpenFile(runDir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("open the run directory: %w", err)
	}
	l, err := listen(runDir, dir)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen on %s: %w", filepath.Join(runDir, api.SocketName), err), dir.Close())
	}
	return l, nil
}

func listen(runDir string, dir *os.File) (_ *Listener, err error) {
	fd := int(dir.Fd())
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("look at the run directory: %w", err)
	}
	if int(st.Uid) != os.Geteuid() || st.Mode&0o022 != 0 {
		return nil, fmt.Errorf("the run directory belongs to uid %d with mode %#o: others could replace the socket", st.Uid, st.Mode&0o7777)
	}
	for _, name := range []string{api.SocketName, newName} {
		if err := checkStale(fd, name); err != nil {
			return nil, err
		}
	}
	if err := unix.Unlinkat(fd, newName, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return nil, fmt.Errorf("remove a stale socket: %w", err)
	}
	path := filepath.Join(runDir, newName)
	if len(path) > maxSocketPath {
		path = fmt.Sprintf("/proc/self/fd/%d/%s", fd, newName)
	}
	ul, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: path})
	if err != nil {
		return nil, err
	}
	ul.SetUnlinkOnClose(false)
	l := &Listener{UnixListener: ul, path: filepath.Join(runDir, api.SocketName), dir: dir}
	defer func() {
		if err != nil {
			_ = ul.Close()
			_ = unix.Unlinkat(fd, newName, 0)
		}
	}()
	if err := unix.Fchmodat(fd, newName, 0o666, 0); err != nil {
		return nil, fmt.Errorf("make the socket connectable: %w", err)
	}
	if err := unix.Fstatat(fd, newName, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return nil, fmt.Errorf("look at the socket: %w", err)
	}
	l.dev, l.ino = st.Dev, st.Ino
	if err := unix.Renameat(fd, newName, fd, api.SocketName); err != nil {
		return nil, fmt.Errorf("name the socket: %w", err)
	}
	return l, nil
}

// checkStale refuses to replace what is no socket.
func checkStale(dir int, name string) error {
	var st unix.Stat_t
	err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	switch {
	case errors.Is(err, unix.ENOENT):
		return nil
	case err != nil:
		return fmt.Errorf("look at %s: %w", name, err)
	case st.Mode&unix.S_IFMT != unix.S_IFSOCK:
		return fmt.Errorf("%s exists and is no socket: remove it", name)
	}
	return nil
}

// Path is the socket's path.
func (l *Listener) Path() string { return l.path }

// Close stops listening and removes the socket, unless another has taken its
// place. Later calls do nothing.
func (l *Listener) Close() error {
	var err error
	l.close.Do(func() {
		err = l.UnixListener.Close()
		fd := int(l.dir.Fd())
		var st unix.Stat_t
		if unix.Fstatat(fd, api.SocketName, &st, unix.AT_SYMLINK_NOFOLLOW) == nil && st.Dev == l.dev && st.Ino == l.ino {
			err = errors.Join(err, unix.Unlinkat(fd, api.SocketName, 0))
		}
		err = errors.Join(err, l.dir.Close())
	})
	return err
}

// refusalTimeout is how long a caller with too many connections may take to
// take the answer; its buffer is empty, so it takes no time.
const refusalTimeout = time.Second

// acceptor gives the HTTP server connections whose peer is known and has not
// too many already.
type acceptor struct {
	net.Listener
	identify func(net.Conn) (peer, error)
	peers    *peers
	refuse   []byte // an HTTP answer
}

func (a *acceptor) Accept() (net.Conn, error) {
	for {
		c, err := a.Listener.Accept()
		if err != nil {
			return nil, err
		}
		p, err := a.identify(c)
		if err != nil {
			// Not known is not let in; it may have hung up already.
			_ = c.Close()
			continue
		}
		k, ok := a.peers.add(c, p)
		if !ok {
			_ = c.SetWriteDeadline(time.Now().Add(refusalTimeout))
			_, _ = c.Write(a.refuse)
			_ = c.Close()
			continue
		}
		return k, nil
	}
}
