package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"cove/runtime/api"
	"cove/runtime/sandbox"
)

// route is one method of one path.
type route struct {
	method string
	// path is below /v1; {ref} stands for a sandbox.
	path   string
	handle func(*request) error
	// files says that open files may come with it.
	files bool
}

const refSegment = "{ref}"

func routes() []route {
	return []route{
		{method: http.MethodGet, path: "/version", handle: (*request).status},
		{method: http.MethodGet, path: "/sandboxes", handle: (*request).list},
		{method: http.MethodPost, path: "/sandboxes", handle: (*request).create, files: true},
		{method: http.MethodGet, path: "/sandboxes/{ref}", handle: (*request).get},
		{method: http.MethodDelete, path: "/sandboxes/{ref}", handle: (*request).delete},
		{method: http.MethodPost, path: "/sandboxes/{ref}/start", handle: (*request).start},
		{method: http.MethodPost, path: "/sandboxes/{ref}/stop", handle: (*request).stop},
		{method: http.MethodPost, path: "/sandboxes/{ref}/restart", handle: (*request).restart},
		{method: http.MethodPost, path: "/sandboxes/{ref}/pause", handle: (*request).pause},
		{method: http.MethodPost, path: "/sandboxes/{ref}/archive", handle: (*request).archive},
		{method: http.MethodPost, path: "/sandboxes/{ref}/resume", handle: (*request).resume},
		{method: http.MethodPost, path: "/sandboxes/{ref}/resize", handle: (*request).resize},
		{method: http.MethodPost, path: "/sandboxes/{ref}/rename", handle: (*request).rename},
		{method: http.MethodPost, path: "/sandboxes/{ref}/labels", handle: (*request).labels},
		{method: http.MethodPost, path: "/sandboxes/{ref}/network", handle: (*request).network},
		{method: http.MethodPost, path: "/sandboxes/{ref}/automation", handle: (*request).automation},
		{method: http.MethodPost, path: "/sandboxes/{ref}/touch", handle: (*request).touch},
		{method: http.MethodGet, path: "/sandboxes/{ref}/sessions", handle: (*request).sessions},
		{method: http.MethodPost, path: "/sandboxes/{ref}/exec", handle: (*request).exec},
		{method: http.MethodGet, path: "/sandboxes/{ref}/logs", handle: (*request).logs},
		{method: http.MethodPost, path: "/sandboxes/{ref}/code", handle: (*request).runCode},
		{method: http.MethodPost, path: "/sandboxes/{ref}/files", handle: (*request).copyFiles},
		{method: http.MethodPost, path: "/sandboxes/{ref}/attach", handle: (*request).attach},
		{method: http.MethodGet, path: "/sandboxes/{ref}/history", handle: (*request).history},
		{method: http.MethodGet, path: "/sandboxes/{ref}/changes", handle: (*request).changes},
		{method: http.MethodPost, path: "/sandboxes/{ref}/applied", handle: (*request).applied},
		{method: http.MethodPost, path: "/sandboxes/{ref}/discard", handle: (*request).discard},
		{method: http.MethodGet, path: "/events", handle: (*request).events},
		{method: http.MethodGet, path: "/stats", handle: (*request).stats},
		{method: http.MethodGet, path: "/deleted", handle: (*request).deleted},
		{method: http.MethodPost, path: "/undo", handle: (*request).undo},
		{method: http.MethodPost, path: "/sandboxes/{ref}/snapshot", handle: (*request).snapshot},
		{method: http.MethodPost, path: "/sandboxes/{ref}/fork", handle: (*request).fork, files: true},
		{method: http.MethodGet, path: "/snapshots", handle: (*request).snapshots},
		{method: http.MethodPost, path: "/sandboxes/{ref}/export", handle: (*request).export},
		{method: http.MethodPost, path: "/import", handle: (*request).importSandbox},
		{method: http.MethodPost, path: "/snapshots/build", handle: (*request).build},
		{method: http.MethodPost, path: "/sandboxes/{ref}/rebuild", handle: (*request).rebuild},
		{method: http.MethodPost, path: "/snapshots/rm", handle: (*request).removeSnapshot},
		{method: http.MethodGet, path: "/volumes", handle: (*request).volumes},
		{method: http.MethodPost, path: "/volumes", handle: (*request).createVolume},
		{method: http.MethodPost, path: "/volumes/rm", handle: (*request).removeVolume},
		{method: http.MethodPost, path: "/sandboxes/{ref}/volumes", handle: (*request).attachVolume},
		{method: http.MethodPost, path: "/sandboxes/{ref}/volumes/detach", handle: (*request).detachVolume},
		{method: http.MethodGet, path: "/images", handle: (*request).images},
		{method: http.MethodPost, path: "/images/pull", handle: (*request).pullImage},
		{method: http.MethodPost, path: "/images/import", handle: (*request).importImage},
		{method: http.MethodPost, path: "/images/export", handle: (*request).exportImage},
		{method: http.MethodPost, path: "/images/rm", handle: (*request).removeImage},
		{method: http.MethodPost, path: "/images/prune", handle: (*request).pruneImages},
		{method: http.MethodGet, path: "/gpus", handle: (*request).gpus},
		{method: http.MethodGet, path: "/checks", handle: (*request).checks},
		{method: http.MethodGet, path: "/leaks", handle: (*request).leaks},
	}
}

// match tells whether segments are the route's, and which sandbox they name.
func (t route) match(segments []string) (ref string, ok bool) {
	want := strings.Split("/"+api.Version+t.path, "/")[1:]
	if len(want) != len(segments) {
		return "", false
	}
	for i, w := range want {
		if w == refSegment && segments[i] != "" {
			ref = segments[i]
		} else if w != segments[i] {
			return "", false
		}
	}
	return ref, true
}

// find returns the route of a request, or the error to answer with.
func (s *Server) find(r *http.Request) (t route, ref string, err error) {
	segments := strings.Split(r.URL.EscapedPath(), "/")[1:]
	for i, e := range segments {
		if segments[i], err = url.PathUnescape(e); err != nil {
			return route{}, "", unknownPath(r)
		}
	}
	var allowed []string
	for _, t := range s.routes {
		ref, ok := t.match(segments)
		if !ok {
			continue
		}
		if t.method == r.Method {
			return t, ref, nil
		}
		allowed = append(allowed, t.method)
	}
	if allowed == nil {
		return route{}, "", unknownPath(r)
	}
	slices.Sort(allowed)
	return route{}, "", &methodError{allowed: strings.Join(allowed, ", ")}
}

func unknownPath(r *http.Request) error {
	return &api.Error{
		Code: api.CodeNotFound, Message: fmt.Sprintf("this daemon has no %s %s", clip(r.Method), clip(r.URL.EscapedPath())),
		Hint: "it may be of another version: cove daemon status",
	}
}

// methodError is a path that exists, by another method.
type methodError struct{ allowed string }

func (e *methodError) Error() string { return "this path takes " + e.allowed }

// request is one request under way.
type request struct {
	s      *Server
	w      http.ResponseWriter
	r      *http.Request
	rc     *http.ResponseController
	peer   peer
	caller sandbox.Caller
	route  route
	ref    string
	files  *files // of the connection; nil in tests without one

	answered int      // the HTTP status, once it is sent
	code     api.Code // of a refusal
	failure  error    // for the log: what went wrong here, not what was refused
}

// ServeHTTP answers one request. The connection's peer must be in its context,
// which Serve sees to.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.under.begin()
	defer s.under.done()
	q := &request{s: s, w: w, r: r, rc: http.NewResponseController(w)}
	q.files, _ = r.Context().Value(filesKey{}).(*files)
	if q.files != nil {
		defer q.files.close()
	}
	begin := time.Now()
	defer func() { q.logLine(time.Since(begin)) }()
	defer func() {
		if p := recover(); p != nil {
			q.fail(&panicError{value: p, stack: debug.Stack()})
		}
	}()
	// The limit of the last answer on this connection.
	_ = q.rc.SetWriteDeadline(time.Time{})
	if err := q.serve(); err != nil {
		q.fail(err)
	}
}

func (q *request) serve() error {
	if err := q.admit(); err != nil {
		q.w.Header().Set("Connection", "close")
		return err
	}
	var err error
	if q.route, q.ref, err = q.s.find(q.r); err != nil {
		return err
	}
	if !q.route.files {
		if err := q.noFiles(); err != nil {
			return err
		}
	}
	return q.route.handle(q)
}

// admit decides whether the peer may use the daemon at all, and finds out who
// it is.
func (q *request) admit() error {
	p, ok := q.r.Context().Value(peerKey{}).(peer)
	if !ok {
		return &api.Error{Code: api.CodeForbidden, Message: "who you are could not be found out"}
	}
	q.peer, q.caller = p, sandbox.Caller{UID: p.uid}
	if q.r.Header.Get("Origin") != "" || len(q.r.Header["Origin"]) > 0 {
		return &api.Error{Code: api.CodeForbidden, Message: "requests of web pages (with an Origin) are refused"}
	}
	if p.uid == 0 {
		return nil
	}
	group := q.s.opt.Group
	ok, err := q.s.members.has(p.uid)
	switch {
	case errors.Is(err, errNoGroup):
		return &api.Error{
			Code: api.CodeForbidden, Message: fmt.Sprintf("only root may use the daemon: this machine has no group %s", group),
			Hint: fmt.Sprintf("sudo groupadd --system %s && sudo usermod -aG %s $USER", group, group),
		}
	case err != nil:
		q.failure = err
		return &api.Error{Code: api.CodeForbidden, Message: "only root may use the daemon: who is in group " + group + " could not be read"}
	case !ok:
		return &api.Error{
			Code: api.CodeForbidden, Message: fmt.Sprintf("uid %d may not use the daemon: it is not in group %s", p.uid, group),
			Hint: fmt.Sprintf("sudo usermod -aG %s $USER", group),
		}
	}
	return nil
}

// panicError is a handler's panic.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v\n%s", e.value, e.stack) }

// fail answers with err; when an answer was begun, the connection is all that
// can still be ended.
func (q *request) fail(err error) {
	if q.answered != 0 {
		q.failure = err
		return
	}
	cause := err
	var method *methodError
	var crash *panicError
	if errors.As(err, &method) {
		q.w.Header().Set("Allow", method.allowed)
		err = &statusError{invalid("%s", method.Error()), http.StatusMethodNotAllowed}
	} else if errors.As(err, &crash) {
		err = &api.Error{Code: api.CodeInternal, Message: "a fault of the daemon's; its log says more"}
	}
	e, status := wireError(err)
	if q.code = e.Code; status >= http.StatusInternalServerError {
		q.failure = cause
	}
	q.write(status, encodeError(e))
}

// reply answers with v as JSON.
func (q *request) reply(status int, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	q.write(status, append(b, '\n'))
	return nil
}

func (q *request) write(status int, body []byte) {
	_ = q.rc.SetWriteDeadline(time.Now().Add(answerTimeout))
	h := q.w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	q.answered = status
	q.w.WriteHeader(status)
	if _, err := q.w.Write(body); err != nil && q.failure == nil {
		q.failure = fmt.Errorf("send the answer: %w", err)
	}
}

// logLine is the one place where requests are logged: never a path, a query, a body
// or an answer, nor the words of a refusal, which may quote them. What went
// wrong on the daemon's side is an error.
func (q *request) logLine(took time.Duration) {
	ctx := context.WithoutCancel(q.r.Context())
	level := slog.LevelDebug
	if q.answered == http.StatusInternalServerError || q.code == api.CodeForbidden && q.failure != nil {
		level = slog.LevelError
	}
	if !q.s.log.Enabled(ctx, level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("method", clip(q.r.Method)), slog.String("route", q.route.path), slog.String("sandbox", clip(q.ref)),
		slog.Int("status", q.answered), slog.Duration("took", took), slog.Int("uid", q.peer.uid), slog.Int("pid", q.peer.pid),
	}
	if q.code != "" {
		attrs = append(attrs, slog.String("code", string(q.code)))
	}
	if q.failure != nil {
		attrs = append(attrs, slog.Any("error", q.failure))
	}
	q.s.log.LogAttrs(ctx, level, "request", attrs...)
}
