package server

import (
	"net/http"

	"cove/config"
	"cove/runtime/api"
	"cove/runtime/sandbox"
)

// automation changes what happens to a sandbox with time.
func (q *request) automation() error {
	// What a request leaves out is the default, not the zero value: an
	// auto_delete of zero would delete the sandbox when it stops.
	a := config.Defaults().Automation
	in := api.AutomationRequest{Automation: &a}
	if err := q.body(&in); err != nil {
		return err
	}
	if in.Automation == nil {
		return invalid("field \"automation\" is null")
	}
	i, err := q.s.opt.Manager.SetAutomation(q.r.Context(), q.caller, q.ref, *in.Automation)
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
