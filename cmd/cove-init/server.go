package main

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"cove/runtime/frame"
	"cove/runtime/guest"
)

const (
	maxConns       = 512
	requestTimeout = 10 * time.Second
	// acceptPause is how long accepting rests when the kernel has no memory
	// or descriptors left.
	acceptPause = 50 * time.Millisecond
)

// server answers the daemon.
type server struct {
	boot     string
	children *children
	sessions sessions
	journal  journal
	slots    chan struct{} // one per connection

	mu   sync.Mutex
	conf *settings // nil until Configure

	down struct {
		once sync.Once
		done chan struct{}
	}
	supervisors supervisors
	// tidy gives memory back to the system when no connection has ended for a
	// while; the runtime takes minutes for it.
	tidy *time.Timer
}

// tidyAfter is how long it must be quiet.
const tidyAfter = time.Second

func newServer(c *children) (*server, error) {
	var boot [8]byte
	if _, err := rand.Read(boot[:]); err != nil {
		return nil, fmt.Errorf("make a boot id: %w", err)
	}
	s := &server{boot: hex.EncodeToString(boot[:]), children: c, slots: make(chan struct{}, maxConns)}
	s.sessions.byName = map[string]*session{}
	s.sessions.unnamed = map[*session]struct{}{}
	s.supervisors.pids = map[int]struct{}{}
	s.down.done = make(chan struct{})
	s.tidy = time.AfterFunc(tidyAfter, debug.FreeOSMemory)
	return s, nil
}

// listener accepts connections of the daemon.
type listener struct {
	f  *os.File
	rc syscall.RawConn
}

func newListener(fd int) (*listener, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, fmt.Errorf("use the listener, descriptor %d: %w", fd, err)
	}
	f := os.NewFile(uintptr(fd), "listener")
	rc, err := f.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("use the listener: %w", err)
	}
	return &listener{f: f, rc: rc}, nil
}

func (l *listener) accept() (fd int, err error) {
	rerr := l.rc.Read(func(lfd uintptr) bool {
		for {
			fd, _, err = unix.Accept4(int(lfd), unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
			if !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.ECONNABORTED) {
				break
			}
		}
		return !errors.Is(err, unix.EAGAIN)
	})
	if rerr != nil {
		return -1, rerr
	}
	return fd, err
}

// accept serves connections until the listener is closed.
func (s *server) accept(l *listener) {
	for {
		fd, err := l.accept()
		if errors.Is(err, os.ErrClosed) {
			return
		}
		if err != nil {
			<-time.After(acceptPause)
			continue
		}
		// The daemon lives outside of our pid namespace, where it has no
		// number here. Nobody inside has a way to this socket; if there
		// were one, this closes it.
		cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err != nil || cred.Pid != 0 {
			_ = unix.Close(fd)
			continue
		}
		select {
		case s.slots <- struct{}{}:
			go func() {
				defer func() {
					<-s.slots
					s.tidy.Reset(tidyAfter)
				}()
				s.serve(os.NewFile(uintptr(fd), "connection"))
			}()
		default:
			_ = unix.Close(fd)
		}
	}
}

// serve serves one connection: one request.
func (s *server) serve(f *os.File) {
	defer f.Close()
	p := &peer{f: f, r: frame.NewReader(f)}
	_ = f.SetDeadline(time.Now().Add(requestTimeout))
	conf := s.settings()
	if p.sendJSON(frame.Hello, guest.Hello{Version: guest.ProtocolVersion, Ready: conf != nil, Boot: s.boot}) != nil {
		return
	}
	req, err := p.readRequest()
	if err != nil {
		p.reply(err)
		return
	}
	_ = f.SetDeadline(time.Time{})
	switch {
	case req.Kind == guest.Exec || req.Kind == guest.Code || req.Kind == guest.Files || req.Kind == guest.Attach:
		if conf == nil {
			p.fail(&startError{guest.CodeNotExecutable, "the sandbox is not configured yet"})
			return
		}
		if req.Kind != guest.Attach {
			s.exec(p, conf, req)
		} else {
			s.attach(p, conf, req)
		}
	case req.Kind == guest.Logs:
		s.journal.send(p, req.Follow)
	case req.Kind == guest.Ping:
		p.reply(nil)
	case req.Kind == guest.Configure:
		p.reply(s.configure(req))
	case req.Kind == guest.Sessions:
		_ = p.sendJSON(frame.Reply, guest.Reply{Sessions: s.sessions.list()})
	case req.Kind == guest.Shutdown:
		s.shutdown(req.Timeout)
		p.reply(nil)
		os.Exit(0)
	}
}

// peer is the daemon's end of one connection.
type peer struct {
	f *os.File
	r *frame.Reader

	mu  sync.Mutex
	out []byte
}

func (p *peer) readRequest() (*guest.Request, error) {
	t, b, err := p.r.Next()
	if err != nil {
		return nil, fmt.Errorf("read the request: %w", err)
	}
	if t != frame.Request {
		return nil, fmt.Errorf("frame of type %d in place of a request", t)
	}
	var req guest.Request
	if err := json.Unmarshal(b, &req); err != nil {
		return nil, fmt.Errorf("read the request: %w", err)
	}
	if v := req.Version; v < 1 || v < guest.ProtocolVersion-1 || v > guest.ProtocolVersion {
		return nil, fmt.Errorf("unknown version %d of the protocol", v)
	}
	return &req, req.Validate()
}

// send sends one frame of control.
func (p *peer) send(t frame.Type, payload []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.out = frame.Append(p.out[:0], t, payload)
	_, err := p.f.Write(p.out)
	return err
}

// sendData sends the payload in b[frame.HeaderLen:], n bytes.
func (p *peer) sendData(t frame.Type, b []byte, n int) error {
	frame.PutHeader(b, t, n)
	p.mu.Lock()
	defer p.mu.Unlock()
	_, err := p.f.Write(b[:frame.HeaderLen+n])
	return err
}

func (p *peer) sendJSON(t frame.Type, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return p.send(t, b)
}

func (p *peer) reply(err error) {
	var r guest.Reply
	if err != nil {
		r.Error = err.Error()
	}
	_ = p.f.SetWriteDeadline(time.Now().Add(requestTimeout))
	_ = p.sendJSON(frame.Reply, r)
}

// fail answers an exec or attach whose program could not be started.
func (p *peer) fail(err *startError) {
	_ = p.f.SetWriteDeadline(time.Now().Add(requestTimeout))
	_ = p.sendJSON(frame.Exit, frame.ExitStatus{Code: err.code, Error: err.text})
}
