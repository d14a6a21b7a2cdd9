package server

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// peer is who is at the other end of a connection: the credentials that the
// kernel kept when it was made (SO_PEERCRED, unix(7)).
type peer struct {
	uid int
	pid int
}

func peerOf(c net.Conn) (peer, error) {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return peer{}, errors.New("not a unix socket")
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return peer{}, fmt.Errorf("look at the connection: %w", err)
	}
	var cred *unix.Ucred
	var cerr error
	if err := raw.Control(func(fd uintptr) {
		cred, cerr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return peer{}, fmt.Errorf("look at the connection: %w", err)
	}
	if cerr != nil {
		return peer{}, fmt.Errorf("ask for the peer's credentials: %w", cerr)
	}
	return peer{uid: int(cred.Uid), pid: int(cred.Pid)}, nil
}

// peers are all connections, by who made them.
type peers struct {
	most int // per uid but root
	// allowed tells who may use the daemon.
	allowed func(uid int) bool
	taker   *takers

	mu    sync.Mutex
	conns map[*peerConn]struct{}
	count map[int]int
	files map[int]int // by uid, those that came with requests
}

func newPeers(most int, allowed func(uid int) bool) *peers {
	return &peers{
		most: most, allowed: allowed, taker: newTakers(), conns: map[*peerConn]struct{}{}, count: map[int]int{}, files: map[int]int{},
	}
}

// peerConn is a connection whose peer is known. From Close on it no longer
// counts.
type peerConn struct {
	net.Conn
	peer  peer
	peers *peers
	quiet bool // has sent nothing yet; guarded by peers.mu
	files files
}

// Read reads, and takes the descriptors that come with the first request.
func (k *peerConn) Read(p []byte) (int, error) {
	if u, ok := k.Conn.(*net.UnixConn); ok && !k.files.isSealed() {
		return k.files.read(u, p)
	}
	return k.Conn.Read(p)
}

// add counts c, unless its peer has too many.
func (s *peers) add(c net.Conn, p peer) (*peerConn, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.uid != 0 && s.count[p.uid] >= s.most {
		return nil, false
	}
	k := &peerConn{Conn: c, peer: p, peers: s, quiet: true}
	k.files.hold = func(n int) bool { return s.hold(p.uid, n) }
	k.files.release = func(n int) { s.hold(p.uid, -n) }
	if p.uid != 0 {
		k.files.taker, k.files.uid, k.files.allowed = s.taker, p.uid, func() bool { return s.allowed(p.uid) }
	}
	s.conns[k] = struct{}{}
	s.count[p.uid]++
	return k, true
}

// Close closes the connection.
func (k *peerConn) Close() error {
	err := k.Conn.Close()
	k.files.close()
	k.peers.remove(k)
	return err
}

// hold counts n more open files of a uid's, and tells whether it may have them.
func (s *peers) hold(uid, n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.files[uid] += n; s.files[uid] == 0 {
		delete(s.files, uid)
	}
	return uid == 0 || s.files[uid] <= maxHeld
}

func (s *peers) remove(k *peerConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.conns[k]; !ok {
		return
	}
	delete(s.conns, k)
	if s.count[k.peer.uid]--; s.count[k.peer.uid] == 0 {
		delete(s.count, k.peer.uid)
	}
}

// state follows the HTTP server's view of a connection.
func (s *peers) state(c net.Conn, to http.ConnState) {
	if k, ok := c.(*peerConn); ok && to != http.StateNew {
		s.mu.Lock()
		k.quiet = false
		s.mu.Unlock()
	}
}

// dropQuiet closes the connections that have sent nothing yet: the HTTP
// server's own shutdown would wait for their first request.
func (s *peers) dropQuiet() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range s.conns {
		if k.quiet {
			_ = k.Conn.Close()
		}
	}
}
