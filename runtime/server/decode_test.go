package server

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"cove/config"
	"cove/runtime/api"
	"cove/runtime/guest"
	"cove/runtime/sandbox"
)

func TestDecodeJSON(t *testing.T) {
	for body, want := range map[string]string{
		``:                                  "",
		`{}`:                                "",
		" {\"name\":\"a\"}\n\t":             "",
		`null`:                              "",
		`{"nane":"a"}`:                      `unknown field "nane"`,
		`{"spec":{"resources":{"cpus":1}}}`: `unknown field "cpus"`,
		`{"` + strings.Repeat("x", 5000) + `":1}`: `unknown field "xxx`,
		`{"name":1}`:                             `field "name" has the wrong type of value: it takes a string`,
		`{"spec":{"resources":{"pids":"many"}}}`: `field "spec.resources.pids" has the wrong type of value: it takes a whole number that fits`,
		`{"spec":{"resources":{"cpu":"2"}}}`:     `it takes a number`,
		`{"spec":{"shell":"sh"}}`:                `it takes a list`,
		`{"spec":{"network":[]}}`:                `it takes an object`,
		`{"spec":{"no_new_privileges":"yes"}}`:   `it takes true or false`,
		`{"spec":{"automation":{"ttl":"1h"}}}`:   "want a number of seconds",
		`[]`:                                     "the body must be a JSON object",
		`"x"`:                                    "the body must be a JSON object",
		`{"name":"a"`:                            "in the middle",
		`{"name":"a"}{}`:                         "goes on after",
		`{"name":"a"} x`:                         "goes on after",
		`{name:1}`:                               "not valid JSON, at byte 2",
		`{"name":"a",}`:                          "not valid JSON",
		"\x00":                                   "not valid JSON",
		strings.Repeat("[", 20_000):              "not valid JSON",
	} {
		var v api.CreateRequest
		err := decodeJSON(strings.NewReader(body), &v)
		about := clip(body)
		if want == "" {
			noError(t, err, about)
			continue
		}
		errorIs(t, err, api.ErrInvalid, about)
		contains(t, err.Error(), want, about)
		if len(err.Error()) > 400 {
			t.Errorf("%s: an error of %d bytes", about, len(err.Error()))
		}
	}
}

// What a caller sends as a secret is in no error.
func TestErrorsHoldNoSecret(t *testing.T) {
	for _, body := range []string{
		`{"secrets":{"TOKEN":4711081547110815}}`, `{"secrets":{"TOKEN":"hunter2 4711081547110815"}`, `{"secrets":"4711081547110815"}`,
		`{"secrets":{"TOKEN":"4711081547110815"x}}`, `{"secrets":{"TOKEN":["4711081547110815"]}}`,
	} {
		var v api.CreateRequest
		err := decodeJSON(strings.NewReader(body), &v)
		anError(t, err, body)
		if strings.Contains(err.Error(), "47110815") {
			t.Errorf("%s: %v", body, err)
		}
	}
}

func FuzzDecodeJSON(f *testing.F) {
	for _, s := range []string{`{"name":"a","spec":{"image":"host"}}`, `{"argv":["x"],"timeout":1.5}`, `{"a":`, `{}{}`, ``, `null`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, v := range []any{&api.CreateRequest{}, &api.StartRequest{}, &api.StopRequest{}, &api.ExecRequest{}, &api.AttachRequest{}} {
			err := decodeJSON(strings.NewReader(string(body)), v)
			if err == nil {
				continue
			}
			if !errors.Is(err, api.ErrInvalid) {
				t.Errorf("%q is not called invalid: %v", body, err)
			}
			if len(err.Error()) > 1000 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
		}
	})
}

func FuzzSince(f *testing.F) {
	f.Add("since=feed:3&follow=1")
	f.Add("since=feed%3A3")
	f.Add("since=&since=")
	f.Fuzz(func(t *testing.T, raw string) {
		r := &http.Request{URL: &url.URL{RawQuery: raw}}
		v, err := query(r, "since", "follow")
		if err != nil {
			errorIs(t, err, api.ErrInvalid)
			return
		}
		c, err := parseSince(v["since"])
		switch {
		case err != nil:
			errorIs(t, err, api.ErrInvalid)
		case c != nil && c.String() != v.Get("since"):
			t.Errorf("%q is read as %v", v.Get("since"), c)
		case c == nil && v.Has("since"):
			t.Errorf("%q is not read", raw)
		}
	})
}

func TestBodiesAndQueries(t *testing.T) {
	h := newHost(t)
	h.info("a", owner)
	for _, tt := range []struct{ method, path, body, want string }{
		{"POST", "/v1/sandboxes", `{"name":"b","spec":{"imagee":"host"}}`, `unknown field "imagee"`},
		{"POST", "/v1/sandboxes", `{"name":"b"} trailing`, "goes on after"},
		{"POST", "/v1/sandboxes", `{"name":"` + strings.Repeat("x", api.MaxBody) + `"}`, "larger than 1048576 bytes"},
		{"POST", "/v1/sandboxes", `{}` + strings.Repeat(" ", api.MaxBody), "larger than 1048576 bytes"},
		{"POST", "/v1/sandboxes?x=1", `{}`, `unknown query parameter "x"`},
		{"POST", "/v1/sandboxes/a/start", `{"force":true}`, `"force" is for stop and restart`},
		{"POST", "/v1/sandboxes/a/stop", `{"secrets":{}}`, `unknown field "secrets"`},
		{"DELETE", "/v1/sandboxes/a?now=perhaps", ``, `"now" takes 1 or 0`},
		{"DELETE", "/v1/sandboxes/a?now=1&now=0", ``, `"now" takes 1 or 0`},
		{"GET", "/v1/sandboxes?label=%3Dx", ``, "KEY=VALUE"},
		{"GET", "/v1/sandboxes?label=a%3D1&label=a%3D2", ``, "two values"},
		{"GET", "/v1/sandboxes?state=running", ``, `there is no state "running"`},
		{"GET", "/v1/sandboxes?stat=started", ``, `unknown query parameter "stat"`},
		{"GET", "/v1/sandboxes?%zz", ``, "query cannot be read"},
		{"GET", "/v1/events?since=1", ``, "no cursor"},
		{"GET", "/v1/events?since=a:1&since=a:2", ``, "given 2 times"},
		{"GET", "/v1/events?follow=2", ``, `"follow" takes 1 or 0`},
		{"GET", "/v1/version?verbose=1", ``, "unknown query parameter"},
		{"GET", "/v1/leaks?a=1", ``, "unknown query parameter"},
	} {
		a := h.ask(root, tt.method, tt.path, tt.body)
		equal(t, http.StatusBadRequest, a.status, tt.path, clip(tt.body))
		e := decodeError(t, a)
		equal(t, api.CodeInvalid, e.Code)
		contains(t, e.Message, tt.want, tt.path)
	}
	equal(t, 0, len(h.m.asked))
}

// What the Manager and PID 1 fail with becomes the right code, and nothing of
// a fault gets lost.
func TestErrorsOfTheManager(t *testing.T) {
	h := newHost(t)
	h.info("a", owner)
	problems := []config.Problem{{Key: "resources.cpu", Message: "too many", Hint: "have fewer"}, {Key: "user", Message: "none"}}
	for _, tt := range []struct {
		err    error
		status int
		want   api.Error
	}{
		{sandbox.ErrNotFound, 404, api.Error{Code: api.CodeNotFound, Message: "no such sandbox"}},
		{errors.Join(errBoom, sandbox.ErrExists), 409, api.Error{Code: api.CodeExists, Message: "the name is taken"}},
		{sandbox.ErrCanceled, 409, api.Error{Code: api.CodeCanceled, Message: sandbox.ErrCanceled.Error()}},
		{sandbox.ErrNoSpace, 507, api.Error{Code: api.CodeExhausted, Message: sandbox.ErrNoSpace.Error()}},
		{sandbox.ErrUnavailable, 503, api.Error{Code: api.CodeUnavailable, Message: "does not answer"}},
		{guest.ErrUnavailable, 503, api.Error{Code: api.CodeUnavailable, Message: guest.ErrUnavailable.Error()}},
		{guest.ErrVersion, 503, api.Error{Code: api.CodeUnavailable, Message: guest.ErrVersion.Error()}},
		{guest.ErrProtocol, 503, api.Error{Code: api.CodeUnavailable, Message: guest.ErrProtocol.Error()}},
		{&guest.RequestError{Message: "full"}, 503, api.Error{Code: api.CodeUnavailable, Message: "full"}},
		{guest.ErrInvalid, 400, api.Error{Code: api.CodeInvalid, Message: "invalid request"}},
		{
			&sandbox.ConflictError{Name: "a", Op: "resize", State: "resizing", Why: "resize is under way"}, 409,
			api.Error{Code: api.CodeConflict, Message: "a: resize is under way", Op: "resize", State: "resizing"},
		},
		{&sandbox.InvalidError{}, 400, api.Error{Code: api.CodeInvalid, Message: "invalid request"}},
		{
			&sandbox.InvalidError{Problems: problems[:1]}, 400,
			api.Error{Code: api.CodeInvalid, Message: "resources.cpu: too many", Hint: "have fewer", Problems: problems[:1]},
		},
		{
			&sandbox.InvalidError{Problems: problems, Unsupported: true}, 422,
			api.Error{Code: api.CodeUnsupported, Message: "resources.cpu: too many (and 1 more)", Hint: "have fewer", Problems: problems},
		},
		{errBoom, 500, api.Error{Code: api.CodeInternal, Message: "boom"}},
	} {
		h.m.with(tt.err)
		a := h.ask(root, "POST", "/v1/sandboxes/a/stop", "")
		equal(t, tt.status, a.status, tt.err)
		equal(t, tt.want, decodeError(t, a), tt.err)
		_, err := h.as(root).Stop(t.Context(), "a", api.StopRequest{})
		e, ok := errors.AsType[*api.Error](err)
		if !ok {
			t.Fatalf("%v is no *api.Error", err)
		}
		equal(t, tt.want, *e)
	}
}

// FuzzPaths: whatever path is asked for, there is an answer of ours.
func FuzzPaths(f *testing.F) {
	f.Add("GET", "/v1/sandboxes/a/start")
	f.Add("POST", "/v1/%2e%2e/%zz")
	s := New(Options{Manager: newMemory(f)})
	f.Fuzz(func(t *testing.T, method, path string) {
		u, err := url.ParseRequestURI(path)
		if err != nil {
			return
		}
		r, ref, err := s.find(&http.Request{Method: method, URL: u})
		if err == nil && (r.method != method || strings.Contains(r.path, refSegment) != (ref != "")) {
			t.Errorf("%s %s is taken for %s %s of %q", method, path, r.method, r.path, ref)
		}
	})
}
