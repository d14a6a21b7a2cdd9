// Package server is the daemon's HTTP side: the unix socket, who is at its other
// end, and the interface of package api on top of a Manager.
//
// A caller is known by the credentials that the kernel keeps of a unix
// connection's peer. Root and the members of one group, as the machine's files
// have it now, are let in; everybody else gets 403 at every path. What a caller
// may see and do is then the Manager's to say. No path that a caller names is
// opened here.
//
// Any Host is taken, since a path is all that leads to a unix socket and
// `curl --unix-socket` users write any name. A request with an Origin is refused:
// only browsers send one, and a browser that gets here comes by way of
// something that lends it its owner's identity.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"cove/runtime/api"
)

// The group whose members may use a daemon, and the files that tell who is one.
const (
	DefaultGroup      = "cove"
	DefaultGroupFile  = "/etc/group"
	DefaultPasswdFile = "/etc/passwd"
)

// DefaultMaxConns is how many connections one uid but root may have at a time.
const DefaultMaxConns = 256

// DefaultGrace is how long requests under way are waited for at the end.
const DefaultGrace = 5 * time.Second

// Limits of the HTTP server.
const (
	headerTimeout = 10 * time.Second
	idleTimeout   = 2 * time.Minute // longer than clients keep idle connections
	maxHeader     = 16 << 10
	answerTimeout = 30 * time.Second // to take an answer
	// lastTimeout is how long handlers and streams have to return once their
	// contexts have ended.
	lastTimeout = 2 * time.Second
)

// Options are what a Server is made of. Zero fields but Manager have defaults.
type Options struct {
	Manager Manager
	// Status is what GET /v1/version tells; the number of sandboxes and the
	// Manager's warnings are put in at each request.
	Status api.DaemonStatus
	// Log gets a line at debug level for each request, and internal errors.
	// No line holds an argument, a variable or a secret.
	Log *slog.Logger
	// Group, GroupFile and PasswdFile tell who may use the daemon.
	Group, GroupFile, PasswdFile string
	// MaxConns is the limit of connections per uid; root has none.
	MaxConns int
	// Grace is how long requests under way may take when Serve ends.
	Grace time.Duration
}

// Server serves one Manager. It is made by [New] and used for one Serve.
type Server struct {
	opt     Options
	log     *slog.Logger
	routes  []route
	members *members
	peers   *peers
	under   underWay
	// identify and eventTimeout are peerOf and eventTimeout but in tests.
	identify     func(net.Conn) (peer, error)
	eventTimeout time.Duration
}

// New makes a Server.
func New(opt Options) *Server {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	for _, d := range []struct {
		to        *string
		byDefault string
	}{{&opt.Group, DefaultGroup}, {&opt.GroupFile, DefaultGroupFile}, {&opt.PasswdFile, DefaultPasswdFile}} {
		if *d.to == "" {
			*d.to = d.byDefault
		}
	}
	if opt.MaxConns <= 0 {
		opt.MaxConns = DefaultMaxConns
	}
	if opt.Grace <= 0 {
		opt.Grace = DefaultGrace
	}
	s := &Server{
		opt: opt, log: opt.Log, routes: routes(),
		members:  &members{group: opt.Group, groupFile: opt.GroupFile, passwdFile: opt.PasswdFile},
		identify: peerOf, eventTimeout: eventTimeout,
	}
	s.peers = newPeers(opt.MaxConns, func(uid int) bool {
		member, err := s.members.has(uid)
		return member && err == nil
	})
	s.under.idle = make(chan struct{}, 1)
	s.under.streams, s.under.cut = context.WithCancelCause(context.Background())
	return s
}

// errShutdown is why streams and requests are cut off at the end.
var errShutdown = errors.New("the daemon is shutting down")

// peerKey finds the peer in a connection's context.
type peerKey struct{}

// filesKey finds there what came beside the first request.
type filesKey struct{}

// Serve answers on l, a listener on a unix socket, until ctx ends or accepting
// fails. It closes l. In the end it stops accepting, ends event streams, cuts exec and
// attach streams off, gives other requests [Options.Grace], and returns when
// all of them have ended, nil after ctx; the wait is bounded, and an error tells
// when it was not enough.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	base, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(errShutdown)
	hs := &http.Server{
		Handler:                      s,
		ReadHeaderTimeout:            headerTimeout,
		IdleTimeout:                  idleTimeout,
		MaxHeaderBytes:               maxHeader,
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		ConnState:                    s.peers.state,
		BaseContext:                  func(net.Listener) context.Context { return base },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if k, ok := c.(*peerConn); ok {
				ctx = context.WithValue(ctx, peerKey{}, k.peer)
				ctx = context.WithValue(ctx, filesKey{}, &k.files)
			}
			return ctx
		},
	}
	hs.RegisterOnShutdown(s.peers.dropQuiet)
	accepting := make(chan error, 1)
	go func() {
		accepting <- hs.Serve(&acceptor{Listener: l, identify: s.identify, peers: s.peers, refuse: tooMany(s.opt.MaxConns)})
	}()
	var err error
	select {
	case <-ctx.Done():
		err = s.finish(hs, cancel)
		if why := <-accepting; !errors.Is(why, http.ErrServerClosed) {
			err = errors.Join(err, fmt.Errorf("accept connections: %w", why))
		}
	case err = <-accepting:
		err = errors.Join(fmt.Errorf("accept connections: %w", err), s.finish(hs, cancel))
	}
	// What Shutdown closed already gives an error that says only that.
	_ = l.Close()
	return err
}

// finish ends what is under way, within bounds.
func (s *Server) finish(hs *http.Server, cancel context.CancelCauseFunc) error {
	s.under.cut(errShutdown)
	grace, done := context.WithTimeout(context.Background(), s.opt.Grace)
	defer done()
	err := hs.Shutdown(grace)
	cancel(errShutdown)
	if errors.Is(err, context.DeadlineExceeded) {
		// What has been told to end now still gets its answer out.
		last, done := context.WithTimeout(context.Background(), lastTimeout)
		defer done()
		if err = hs.Shutdown(last); errors.Is(err, context.DeadlineExceeded) {
			err = nil // only those whose clients do not read
		}
	}
	// That they are closed already, or were in use, is nothing to tell.
	_ = hs.Close()
	last, done := context.WithTimeout(context.Background(), lastTimeout)
	defer done()
	return errors.Join(err, s.under.wait(last))
}

// underWay counts the requests under way, exec and attach streams among them.
type underWay struct {
	streams context.Context // ends when streams are to be cut off
	cut     context.CancelCauseFunc

	mu   sync.Mutex
	n    int
	idle chan struct{} // gets a value when n becomes 0; holds one
}

func (u *underWay) begin() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.n++
}

func (u *underWay) done() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.n--; u.n == 0 {
		select {
		case u.idle <- struct{}{}:
		default:
		}
	}
}

// wait waits until none is.
func (u *underWay) wait(ctx context.Context) error {
	for {
		u.mu.Lock()
		n := u.n
		u.mu.Unlock()
		if n == 0 {
			return nil
		}
		select {
		case <-u.idle:
		case <-ctx.Done():
			return fmt.Errorf("%d requests do not end: %w", n, ctx.Err())
		}
	}
}
