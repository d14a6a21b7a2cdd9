package server

import (
	"bytes"
	"encoding/json"
	"net/http"

	"cove/config"
	"cove/runtime/api"
	"cove/runtime/sandbox"
)

// automation changes what happens to a sandbox with time.
func (q *request) automation() error {
	var in struct {
		Automation json.RawMessage `json:"automation"`
	}
	if err := q.body(&in); err != nil {
		return err
	}
	if len(in.Automation) == 0 || string(in.Automation) == "null" {
		return invalid("field \"automation\" is missing")
	}
	// What a request leaves out is the default, not the zero value: an
	// auto_delete of zero would delete the sandbox when it stops.
	a := config.Defaults().Automation
	if err := decodeJSON(bytes.NewReader(in.Automation), &a); err != nil {
		return err
	}
	i, err := q.s.opt.Manager.SetAutomation(q.r.Context(), q.caller, q.ref, a)
	return q.changed(http.StatusOK, i, err)
}

func (q *request) touch() error {
	if err := q.body(&struct{}{}); err != nil {
		return err
	}
	i, err := q.s.opt.Manager.Touch(q.r.Context(), q.caller, q.ref)
	return q.changed(http.StatusOK, i, err)
}

func toDue(d *sandbox.Due) *api.Due {
	if d == nil {
		return nil
	}
	return &api.Due{Action: d.Action, Key: d.Key, At: d.At, Without: d.Without, Busy: d.Busy, Error: d.Error}
}
