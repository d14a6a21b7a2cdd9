package api

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"cove/config"
	"cove/runtime/lifecycle"
)

func TestDueText(t *testing.T) {
	now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	idle := []string{"terminal", "exec", "cpu"}
	for _, c := range []struct {
		due  *Due
		want string
	}{
		{nil, ""},
		{&Due{Action: lifecycle.OpStop, Key: "auto_stop", At: now.Add(4*time.Minute + 12*time.Second + 900*time.Millisecond), Without: idle}, "stops in 4m12s: no terminal, exec, cpu"},
		{&Due{Action: lifecycle.OpPause, Key: "auto_pause", At: now.Add(61 * time.Minute), Without: idle[:1]}, "pauses in 1h1m: no terminal"},
		{&Due{Action: lifecycle.OpStop, Key: "auto_stop", At: now, Without: idle}, "stops now: no terminal, exec, cpu"},
		{&Due{Action: lifecycle.OpStop, Key: "auto_stop", Busy: []string{"cpu", "network"}}, "stops when idle; now: cpu, network"},
		{&Due{Action: lifecycle.OpStop, Key: "ttl", At: now.Add(48*time.Hour + time.Minute)}, "stops in 2d: ttl"},
		{&Due{Action: lifecycle.OpDelete, Key: "auto_delete", At: now.Add(7*24*time.Hour - time.Second)}, "deleted in 6d23h: auto_delete"},
		{&Due{Action: lifecycle.OpArchive, Key: "auto_archive", At: now.Add(-time.Hour), Error: "no space"}, "archived now: auto_archive; the last try failed: no space"},
	} {
		equal(t, c.want, c.due.Text(now))
	}
}

func TestAutomationRequests(t *testing.T) {
	type seen struct{ Method, Path, Body string }
	got := make(chan seen, 1)
	l, path := listen(t)
	hs := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body json.RawMessage
		_ = json.NewDecoder(r.Body).Decode(&body)
		got <- seen{r.Method, r.URL.Path, string(body)}
		_, _ = w.Write([]byte(`{"name":"a","due":{"action":"stop","key":"ttl"}}`))
	})}}
	hs.Start()
	t.Cleanup(hs.Close)
	c := New(path)
	a := config.Defaults().Automation
	a.AutoStop = config.Duration(90 * time.Second)
	s, err := c.SetAutomation(t.Context(), "a", a)
	noError(t, err)
	equal(t, &Due{Action: lifecycle.OpStop, Key: "ttl"}, s.Due)
	equal(t, seen{"POST", "/v1/sandboxes/a/automation", `{"automation":{"auto_stop":90,"auto_pause":0,"stop_timeout":5,"auto_archive":-1,"auto_delete":-1,"ttl":-1}}`}, <-got)
	_, err = c.Touch(t.Context(), "a")
	noError(t, err)
	equal(t, seen{"POST", "/v1/sandboxes/a/touch", ""}, <-got)
}
