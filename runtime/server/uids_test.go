package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"cove/runtime/api"
	"cove/runtime/frame"
)

// childSocket makes the test's program be a client and nothing else.
const childSocket = "COVE_SERVER_TEST_SOCKET"

// TestMain is also the child that takes open files.
func TestMain(m *testing.M) {
	if os.Args[0] == TakerName {
		os.Exit(Taker(os.Args))
	}
	if socket := os.Getenv(childSocket); socket != "" {
		_ = json.NewEncoder(os.Stdout).Encode(tryAll(context.Background(), api.New(socket)))
		return
	}
	os.Exit(m.Run())
}

// tryAll uses the whole client, on three sandboxes, and tells the code of each
// error, or what came.
func tryAll(ctx context.Context, c *api.Client) map[string]string {
	got := map[string]string{}
	note := func(what string, v any, err error) {
		var e *api.Error
		switch {
		case errors.As(err, &e):
			got[what] = string(e.Code) + ": " + e.Message
		case err != nil:
			got[what] = err.Error()
		default:
			got[what] = fmt.Sprint(v)
		}
	}
	names := func(list []api.Sandbox) string {
		var s []string
		for _, b := range list {
			s = append(s, b.Name)
		}
		slices.Sort(s)
		return strings.Join(s, " ")
	}
	list, err := c.List(ctx, api.ListOptions{})
	note("list", names(list), err)
	st, err := c.Status(ctx)
	note("status", st.Sandboxes, err)
	leaks, err := c.Leaks(ctx)
	note("leaks", len(leaks), err)
	note("events", "", nil)
	if e, err := c.Events(ctx, nil, false); err != nil {
		note("events", nil, err)
	} else {
		ev, err := e.Next()
		note("events", names(ev.Sandboxes), err)
		_ = e.Close()
	}
	for _, name := range []string{"of1001", "of1002", "missing"} {
		d, err := c.Get(ctx, name)
		note("get "+name, d.Name, err)
		_, err = c.Start(ctx, name, api.StartRequest{})
		note("start "+name, "ok", err)
		_, err = c.Restart(ctx, name, api.StartRequest{})
		note("restart "+name, "ok", err)
		_, err = c.Stop(ctx, name, api.StopRequest{})
		note("stop "+name, "ok", err)
		sessions, err := c.Sessions(ctx, name)
		note("sessions "+name, len(sessions), err)
		s, err := c.Exec(ctx, name, api.ExecRequest{Argv: []string{"exit", "3"}})
		if err == nil {
			var status frame.ExitStatus
			status, err = s.Pump(frame.Streams{})
			note("exec "+name, status.Code, err)
			_ = s.Close()
		} else {
			note("exec "+name, nil, err)
		}
		a, err := c.Attach(ctx, name, api.AttachRequest{Cols: 80, Rows: 24})
		note("attach "+name, "ok", err)
		if err == nil {
			_ = a.Close()
		}
		_, err = c.Delete(ctx, name, true)
		note("delete "+name, "ok", err)
	}
	made, err := c.Create(ctx, api.CreateRequest{Name: "new"})
	note("create", made.Owner, err)
	_, err = c.Create(ctx, api.CreateRequest{Name: "taken"})
	note("create taken", "ok", err)
	return got
}

// Real processes of real users, by the credentials that the kernel gives.
func TestRealUsers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make processes of other users")
	}
	const (
		notFound = "not_found: no such sandbox"
		no       = "forbidden: uid 1003 may not use the daemon: it is not in group cove"
	)
	perBox := []string{"get", "start", "restart", "stop", "sessions", "exec", "attach", "delete"}
	for uid, want := range map[int]map[string]string{
		root:  {"list": "of1001 of1002 taken", "status": "3", "leaks": "1", "events": "of1001 of1002 taken", "create": "0"},
		owner: {"list": "of1001", "status": "1", "leaks": "forbidden: only root may audit the machine", "events": "of1001", "create": "1001"},
		other: {"list": "of1002", "status": "1", "leaks": "forbidden: only root may audit the machine", "events": "of1002", "create": "1002"},
		outsider: {
			"list": no, "status": no, "leaks": no, "events": no, "create": no, "create taken": no,
		},
	} {
		t.Run(fmt.Sprint(uid), func(t *testing.T) {
			for _, name := range []string{"of1001", "of1002", "missing"} {
				for _, do := range perBox {
					key := do + " " + name
					switch {
					case uid == outsider:
						want[key] = no
					case name == "missing" || uid != root && name != fmt.Sprintf("of%d", uid):
						want[key] = notFound
					case do == "get":
						want[key] = name
					case do == "sessions":
						want[key] = "1"
					case do == "exec":
						want[key] = "3"
					default:
						want[key] = "ok"
					}
				}
			}
			if uid != outsider {
				want["create taken"] = "exists: the name is taken"
			}
			h := newHost(t)
			h.uid.Store(-1)
			for _, owner := range []int{1001, 1002} {
				playInit(t, h.m.socket(h.info(fmt.Sprintf("of%d", owner), owner)))
			}
			h.info("taken", 4711)
			got := map[string]string{}
			noError(t, json.Unmarshal(asUser(t, h, uid), &got))
			equal(t, want, got)
			equal(t, slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got)))
		})
	}
}

// asUser runs tryAll in a process of the user.
func asUser(t *testing.T, h *host, uid int) []byte {
	t.Helper()
	// The way to the socket, which tests are given a closed directory for.
	for dir := h.dir; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		noError(t, os.Chmod(dir, 0o755))
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Dir = "/"
	cmd.Env = []string{childSocket + "=" + h.socket}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	noError(t, err)
	return out
}

// One user's connections do not keep others out, and count until they are closed.
func TestConnectionsPerUser(t *testing.T) {
	h := newHost(t, func(o *Options) { o.MaxConns = 4 })
	playInit(t, h.m.socket(h.info("a", owner)))
	c := h.as(owner)
	var streams []io.Closer
	for i := range 4 {
		var s io.Closer
		var err error
		if i%2 == 0 {
			s, err = c.Attach(t.Context(), "a", api.AttachRequest{})
		} else {
			s, err = c.Events(t.Context(), nil, true)
		}
		noError(t, err)
		streams = append(streams, s)
	}
	_, err := c.Status(t.Context())
	errorIs(t, err, api.ErrUnavailable)
	_, err = c.Exec(t.Context(), "a", api.ExecRequest{Argv: []string{"exit", "0"}})
	errorIs(t, err, api.ErrUnavailable)
	contains(t, err.Error(), "you have 4 connections")

	_, err = h.as(other).Status(t.Context())
	noError(t, err)
	var many []io.Closer
	for range 8 { // root has no limit
		e, err := h.as(root).Events(t.Context(), nil, true)
		noError(t, err)
		many = append(many, e)
	}
	h.uid.Store(owner)
	noError(t, streams[0].Close())
	await(t, "a connection counted after its end", func() bool {
		e, err := c.Events(t.Context(), nil, true)
		if err == nil {
			streams = append(streams, e)
		}
		return err == nil
	})
	for _, s := range append(streams[1:], many...) {
		noError(t, s.Close())
	}
	await(t, "connections are still counted", func() bool {
		h.s.peers.mu.Lock()
		defer h.s.peers.mu.Unlock()
		return h.s.peers.count[owner] == 0
	})
}
