package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"cove/runtime/guest"
)

// sessions are the terminal sessions. Those of an Exec with TTY have no name.
type sessions struct {
	mu      sync.Mutex
	byName  map[string]*session
	unnamed map[*session]struct{}
}

var errTooManySessions = fmt.Errorf("there are %d sessions already", guest.MaxSessions)

// join returns the session of that name, or makes it. Making is under the
// lock, so that a name has one session.
func (s *sessions) join(name string, create func() (*session, *startError)) (_ *session, created bool, _ *startError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if found := s.byName[name]; found != nil {
		return found, false, nil
	}
	if len(s.byName) >= guest.MaxSessions {
		return nil, false, notExecutable("%v", errTooManySessions)
	}
	made, err := create()
	if err != nil {
		return nil, false, err
	}
	s.byName[name] = made
	return made, true, nil
}

func (s *sessions) addUnnamed(x *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unnamed[x] = struct{}{}
}

// remove forgets a session that has ended.
func (s *sessions) remove(x *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.unnamed, x)
	if x.name != "" && s.byName[x.name] == x {
		delete(s.byName, x.name)
	}
}

// all returns the sessions, those without a name too.
func (s *sessions) all() []*session {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.AppendSeq(slices.Collect(maps.Values(s.byName)), maps.Keys(s.unnamed))
}

func (s *sessions) list() []guest.SessionInfo {
	out := []guest.SessionInfo{}
	for _, x := range s.all() {
		if x.name != "" {
			out = append(out, x.info())
		}
	}
	slices.SortFunc(out, func(a, b guest.SessionInfo) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.Name, b.Name))
	})
	return out
}

// attach carries out an Attach request.
func (s *server) attach(p *peer, conf *settings, req *guest.Request) {
	name := cmp.Or(req.Session, guest.DefaultSession)
	// A session may end between being found and being joined: then it is
	// gone from the table, and the next round makes a new one.
	for {
		x, created, serr := s.sessions.join(name, func() (*session, *startError) { return s.begin(name, conf, req) })
		if serr != nil {
			p.fail(serr)
			return
		}
		v, err := x.join(p, req.Cols, req.Rows, created)
		switch {
		case errors.Is(err, errEnded):
			<-x.gone
			continue
		case err != nil:
			p.fail(notExecutable("%v", err))
			x.begin()
			return
		}
		v.receive()
		return
	}
}

// begin starts the program of a new session, or the shell where it is not there
// and the request has a word to say about it: whoever comes to install it must
// get in.
func (s *server) begin(name string, conf *settings, req *guest.Request) (*session, *startError) {
	prog, err := newProgram(conf, req, true)
	if err != nil {
		return nil, err
	}
	x, err := s.newSession(name, prog, req)
	if err == nil || err.code != guest.CodeNotFound || req.Missing == "" {
		return x, err
	}
	shell := *req
	shell.Argv = nil
	if prog, err = newProgram(conf, &shell, true); err != nil {
		return nil, err
	}
	prog.notice = req.Missing + "\r\n"
	return s.newSession(name, prog, &shell)
}

// execTTY carries out an Exec request with a terminal: a session without a name
// that is hung up when its only client goes.
func (s *server) execTTY(p *peer, prog *program, req *guest.Request) {
	x, serr := s.newSession("", prog, req)
	if serr != nil {
		p.fail(serr)
		return
	}
	s.sessions.addUnnamed(x)
	// A session is only read from its first client on, so it cannot have ended.
	v, err := x.join(p, req.Cols, req.Rows, true)
	if err == nil {
		v.receive()
	} else {
		x.begin()
	}
	x.hangup()
}
