package server

import (
	"net/http"
	"testing"
	"time"

	"cove/config"
	"cove/runtime/api"
	"cove/runtime/lifecycle"
	"cove/runtime/sandbox"
)

// What an automation leaves out is the default: nothing of it deletes a sandbox.
func TestAutomationDefaults(t *testing.T) {
	h := newHost(t)
	h.info("a", owner)
	a := h.ask(owner, "POST", "/v1/sandboxes/a/automation", `{"automation":{"auto_stop":60}}`)
	equal(t, http.StatusOK, a.status, a.body)
	equal(t, `automation a [{"auto_stop":60,"auto_pause":0,"stop_timeout":5,"auto_archive":-1,"auto_delete":-1,"ttl":-1}]`, h.m.asked[0])
	for _, body := range []string{``, `{}`, `{"automation":null}`, `{"automation":[]}`, `{"automation":{"auto_stop":"1h"}}`, `{"automation":{"auto_stopp":1}}`} {
		a := h.ask(owner, "POST", "/v1/sandboxes/a/automation", body)
		equal(t, http.StatusBadRequest, a.status, body)
		equal(t, api.CodeInvalid, decodeError(t, a).Code, body)
	}
	auto := config.Defaults().Automation
	auto.TTL = config.Duration(time.Hour)
	_, err := h.as(owner).SetAutomation(t.Context(), "a", auto)
	noError(t, err)
	contains(t, h.m.asked[len(h.m.asked)-1], `"ttl":3600`)
	_, err = h.as(owner).Touch(t.Context(), "a")
	noError(t, err)
	equal(t, "touch a null", h.m.asked[len(h.m.asked)-1])
}

func TestDueIsShown(t *testing.T) {
	h := newHost(t)
	at := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	h.m.put(sandbox.Info{
		Name: "a", Owner: owner, State: "started", Desired: "started", Created: time.Unix(1, 0),
		Due: &sandbox.Due{Action: lifecycle.OpStop, Key: "auto_stop", At: at, Without: []string{"exec"}, Error: "boom"},
	})
	list, err := h.as(owner).List(t.Context(), api.ListOptions{})
	noError(t, err)
	equal(t, &api.Due{Action: lifecycle.OpStop, Key: "auto_stop", At: at, Without: []string{"exec"}, Error: "boom"}, list[0].Due)
}
