package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"cove/runtime/api"
	"cove/runtime/sandbox"
)

// surface is the whole interface, written a second time on purpose: what each
// method of each path answers for a sandbox that the caller may see.
var surface = []struct {
	path   string
	allow  string
	method string
	body   string
	header []string
	status int
	root   bool // for root only
}{
	{path: "/v1/version", allow: "GET", method: "GET", status: 200},
	{path: "/v1/sandboxes", allow: "GET, POST", method: "GET", status: 200},
	{path: "/v1/sandboxes", allow: "GET, POST", method: "POST", body: `{"name":"%new%","spec":{"image":"host"}}`, status: 201},
	{path: "/v1/sandboxes/%ref%", allow: "DELETE, GET", method: "GET", status: 200},
	{path: "/v1/sandboxes/%ref%", allow: "DELETE, GET", method: "DELETE", status: 200},
	{path: "/v1/sandboxes/%ref%/start", allow: "POST", method: "POST", status: 200},
	{path: "/v1/sandboxes/%ref%/stop", allow: "POST", method: "POST", status: 200},
	{path: "/v1/sandboxes/%ref%/restart", allow: "POST", method: "POST", status: 200},
	{path: "/v1/sandboxes/%ref%/pause", allow: "POST", method: "POST", status: 200},
	{path: "/v1/sandboxes/%ref%/archive", allow: "POST", method: "POST", status: 200},
	{path: "/v1/sandboxes/%ref%/resume", allow: "POST", method: "POST", status: 200},
	{path: "/v1/sandboxes/%ref%/resize", allow: "POST", method: "POST", body: `{"cpu":1}`, status: 200},
	{path: "/v1/sandboxes/%ref%/rename", allow: "POST", method: "POST", body: `{"name":"%new%"}`, status: 200},
	{path: "/v1/sandboxes/%ref%/labels", allow: "POST", method: "POST", body: `{"set":{"k":"v"},"remove":["x"]}`, status: 200},
	{path: "/v1/sandboxes/%ref%/network", allow: "POST", method: "POST", body: `{"network":{"block_all":true}}`, status: 200},
	{path: "/v1/sandboxes/%ref%/automation", allow: "POST", method: "POST", body: `{"automation":{"auto_stop":60}}`, status: 200},
	{path: "/v1/sandboxes/%ref%/touch", allow: "POST", method: "POST", status: 200},
	{path: "/v1/sandboxes/%ref%/sessions", allow: "GET", method: "GET", status: 200},
	{path: "/v1/sandboxes/%ref%/exec", allow: "POST", method: "POST", body: `{"argv":["exit","0"]}`, header: upgrade(), status: 101},
	{path: "/v1/sandboxes/%ref%/changes?target=/workspace", allow: "GET", method: "GET", status: 200},
	{path: "/v1/sandboxes/%ref%/applied", allow: "POST", method: "POST", body: `{"target":"/workspace","changes":[]}`, status: 200},
	{path: "/v1/sandboxes/%ref%/discard", allow: "POST", method: "POST", body: `{"target":"/workspace","paths":["."]}`, status: 200},
	{path: "/v1/sandboxes/%ref%/logs", allow: "GET", method: "GET", status: 200},
	{path: "/v1/sandboxes/%ref%/code", allow: "POST", method: "POST", body: `{"source":"eA==","language":"bash","argv":["exit","0"]}`, header: upgrade(), status: 101},
	{path: "/v1/sandboxes/%ref%/files", allow: "POST", method: "POST", body: `{"op":"get","path":"/x","name":"x"}`, header: upgrade(), status: 101},
	{path: "/v1/sandboxes/%ref%/attach", allow: "POST", method: "POST", body: `{"cols":80,"rows":24}`, header: upgrade(), status: 101},
	{path: "/v1/sandboxes/%ref%/history", allow: "GET", method: "GET", status: 200},
	{path: "/v1/events?follow=0", allow: "GET", method: "GET", status: 200},
	{path: "/v1/stats", allow: "GET", method: "GET", status: 200},
	{path: "/v1/sandboxes/%ref%/snapshot", allow: "POST", method: "POST", body: `{"name":"s"}`, status: 201},
	{path: "/v1/sandboxes/%ref%/fork", allow: "POST", method: "POST", body: `{"count":2}`, status: 201},
	{path: "/v1/snapshots", allow: "GET", method: "GET", status: 200},
	{path: "/v1/sandboxes/%ref%/export", allow: "POST", method: "POST", body: `{}`, header: upgrade(), status: 101},
	{path: "/v1/import", allow: "POST", method: "POST", body: `{"name":"i"}`, header: upgrade(), status: 101},
	{path: "/v1/volumes", allow: "GET, POST", method: "GET", status: 200},
	{path: "/v1/volumes", allow: "GET, POST", method: "POST", body: `{"name":"v"}`, status: 201},
	{path: "/v1/volumes/rm", allow: "POST", method: "POST", body: `{"name":"v"}`, status: 200},
	{path: "/v1/sandboxes/%ref%/volumes", allow: "POST", method: "POST", body: `{"name":"v","target":"/v"}`, status: 200},
	{path: "/v1/sandboxes/%ref%/volumes/detach", allow: "POST", method: "POST", body: `{"target":"/v"}`, status: 200},
	{path: "/v1/snapshots/build", allow: "POST", method: "POST", body: `{"dockerfile":"FROM host"}`, header: upgrade(), status: 101},
	{path: "/v1/sandboxes/%ref%/rebuild", allow: "POST", method: "POST", body: `{}`, header: upgrade(), status: 101},
	{path: "/v1/snapshots/rm", allow: "POST", method: "POST", body: `{"ref":"s"}`, status: 200},
	{path: "/v1/images", allow: "GET", method: "GET", status: 200},
	{path: "/v1/images/pull", allow: "POST", method: "POST", body: `{"ref":"debian:12"}`, status: 200},
	{path: "/v1/images/import", allow: "POST", method: "POST", body: `{"ref":"debian:12"}`, header: upgrade(), status: 101},
	{path: "/v1/images/export", allow: "POST", method: "POST", body: `{"ref":"debian:12"}`, header: upgrade(), status: 101},
	{path: "/v1/images/rm", allow: "POST", method: "POST", body: `{"ref":"debian:12"}`, status: 200},
	{path: "/v1/images/prune", allow: "POST", method: "POST", status: 200},
	{path: "/v1/gpus", allow: "GET", method: "GET", status: 200},
	{path: "/v1/deleted", allow: "GET", method: "GET", status: 200},
	{path: "/v1/undo", allow: "POST", method: "POST", status: 404},
	{path: "/v1/checks", allow: "GET", method: "GET", status: 200},
	{path: "/v1/leaks", allow: "GET", method: "GET", status: 200, root: true},
}

var unknownPaths = []string{
	"/", "/v1", "/v1/", "/v2/version", "/v1/version/", "/v1/sandboxes/", "/v1/sandboxes//start", "/v1/sandboxes/mine/", "/v1/sandboxes/mine/fly",
	"/v1/sandboxes/mine/start/now", "/v1//sandboxes", "/v1/../v1/version", "/V1/version", "/v1/sandboxes/../leaks", "/debug/pprof/", "/v1/%2e%2e/version",
}

var methods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "BREW"}

func decodeError(t *testing.T, a answer, about ...any) api.Error {
	t.Helper()
	var e api.Error
	if err := json.Unmarshal([]byte(a.body), &e); err != nil || e.Code == "" || e.Message == "" {
		t.Fatalf("%sthe answer %d %q is no error: %v", fmt.Sprint(about...), a.status, a.body, err)
	}
	equal(t, "application/json", a.header.Get("Content-Type"), about...)
	return e
}

// Every method of every path, for each caller, on an own sandbox, a foreign one
// and one that is not there.
func TestEveryRouteForEveryCaller(t *testing.T) {
	for _, uid := range []int{root, owner, other, outsider} {
		t.Run(fmt.Sprint(uid), func(t *testing.T) {
			h := newHost(t)
			n := 0
			for _, path := range unknownPaths {
				for _, method := range methods {
					checkRefusal(t, h, uid, method, path, http.StatusNotFound, "")
				}
			}
			for _, r := range surface {
				for _, method := range methods {
					if !strings.Contains(r.allow, method) {
						checkRefusal(t, h, uid, method, strings.ReplaceAll(r.path, "%ref%", "mine"), http.StatusMethodNotAllowed, r.allow)
					}
				}
				n++
				mine := h.info(fmt.Sprintf("mine%d", n), uid)
				foreign := h.info(fmt.Sprintf("foreign%d", n), 4711)
				playInit(t, h.m.socket(mine))
				playInit(t, h.m.socket(foreign))
				do := func(name string) answer {
					return h.ask(uid, r.method, strings.ReplaceAll(r.path, "%ref%", name), strings.ReplaceAll(r.body, "%new%", fmt.Sprintf("new%d", n)), r.header...)
				}
				about := fmt.Sprintf("uid %d %s %s", uid, r.method, r.path)
				if uid == outsider {
					for _, name := range []string{mine.Name, foreign.Name, "missing"} {
						a := do(name)
						equal(t, http.StatusForbidden, a.status, about)
						equal(t, api.CodeForbidden, decodeError(t, a).Code, about)
						contains(t, a.body, "uid 1003 may not use the daemon: it is not in group cove", about)
						equal(t, true, a.closed, about)
					}
					continue
				}
				a := do(mine.Name)
				if r.root && uid != root {
					equal(t, http.StatusForbidden, a.status, about)
					equal(t, api.CodeForbidden, decodeError(t, a).Code, about)
					continue
				}
				equal(t, r.status, a.status, about, a.body)
				if !strings.Contains(r.path, "%ref%") {
					continue
				}
				a, b := do(foreign.Name), do("missing")
				equal(t, http.StatusNotFound, b.status, about)
				equal(t, api.Error{Code: api.CodeNotFound, Message: "no such sandbox"}, decodeError(t, b))
				if uid == root {
					equal(t, r.status, a.status, about)
					continue
				}
				// A foreign sandbox does not exist, byte for byte.
				a.header.Del("Date")
				b.header.Del("Date")
				equal(t, b.status, a.status, about)
				equal(t, b.body, a.body, about)
				equal(t, b.header, a.header, about)
			}
			if uid == outsider {
				equal(t, 0, len(h.m.asked))
			}
			for _, i := range h.m.List(sandbox.Caller{UID: root}) {
				if i.Owner == 4711 && uid != root && i.State != "started" {
					t.Errorf("%s was changed", i.Name)
				}
			}
		})
	}
}

// checkRefusal checks a method of a path that nobody gets.
func checkRefusal(t *testing.T, h *host, uid int, method, path string, status int, allow string) {
	t.Helper()
	a := h.ask(uid, method, path, "")
	about := fmt.Sprintf("uid %d %s %s", uid, method, path)
	if uid == outsider {
		status, allow = http.StatusForbidden, ""
	}
	equal(t, status, a.status, about)
	equal(t, allow, a.header.Get("Allow"), about)
	if method != "HEAD" {
		decodeError(t, a, about)
	}
}

func TestRoutesAreTheSurface(t *testing.T) {
	var got, want []string
	for _, r := range routes() {
		got = append(got, r.method+" /v1"+r.path)
	}
	for _, r := range surface {
		path, _, _ := strings.Cut(strings.ReplaceAll(r.path, "%ref%", refSegment), "?")
		want = append(want, r.method+" "+path)
	}
	slices.Sort(got)
	slices.Sort(want)
	equal(t, want, got)
}

// A page in a browser that got hold of the socket by way of a proxy is refused,
// also with an empty or opaque origin.
func TestOriginIsRefused(t *testing.T) {
	h := newHost(t)
	for _, origin := range []string{"http://evil.example", "null", "", "http://localhost"} {
		a := h.ask(root, "GET", "/v1/version", "", "Origin", origin)
		equal(t, http.StatusForbidden, a.status, origin)
		decodeError(t, a)
	}
	equal(t, http.StatusOK, h.ask(root, "GET", "/v1/version", "", "Host", "anything.example").status)
}

// The group's files are what they are now: no new login, no restart, and no old
// connection that is still good.
func TestMembershipIsThatOfNow(t *testing.T) {
	h := newHost(t)
	c := h.as(outsider)
	_, err := c.Status(t.Context())
	errorIs(t, err, api.ErrForbidden)
	contains(t, err.Error(), "usermod -aG cove")

	rewrite(t, h.files.group, strings.Replace(groupText, "alice,ghost", "alice,carol", 1))
	_, err = c.Status(t.Context())
	noError(t, err)

	rewrite(t, h.files.group, groupText)
	_, err = c.Status(t.Context()) // on the connection of before
	errorIs(t, err, api.ErrForbidden)

	rewrite(t, h.files.passwd, strings.Replace(passwdText, "carol:x:1003:1003:", "carol:x:1003:900:", 1))
	_, err = c.Status(t.Context())
	noError(t, err)

	rewrite(t, h.files.group, "root:x:0:\n")
	_, err = c.Status(t.Context())
	errorIs(t, err, api.ErrForbidden)
	contains(t, err.Error(), "no group cove")
	contains(t, err.Error(), "groupadd --system cove")

	remove(t, h.files.group)
	_, err = c.Status(t.Context())
	errorIs(t, err, api.ErrForbidden)
	_, err = h.as(root).Status(t.Context())
	noError(t, err, "root needs no group")
}
