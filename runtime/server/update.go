package server

import (
	"net/http"

	"cove/runtime/api"
	"cove/runtime/sandbox"
)

func (q *request) pause() error {
	if err := q.body(&struct{}{}); err != nil {
		return err
	}
	i, err := q.s.opt.Manager.Pause(q.r.Context(), q.caller, q.ref)
	return q.changed(http.StatusOK, i, err)
}

func (q *request) resume() error {
	if err := q.body(&struct{}{}); err != nil {
		return err
	}
	i, err := q.s.opt.Manager.Resume(q.r.Context(), q.caller, q.ref)
	return q.changed(http.StatusOK, i, err)
}

func (q *request) archive() error {
	var in api.ArchiveRequest
	if err := q.body(&in); err != nil {
		return err
	}
	i, err := q.s.opt.Manager.Archive(q.r.Context(), q.caller, q.ref, in.Stop)
	return q.changed(http.StatusOK, i, err)
}

func (q *request) resize() error {
	var in api.ResizeRequest
	if err := q.body(&in); err != nil {
		return err
	}
	i, err := q.s.opt.Manager.Resize(q.r.Context(), q.caller, q.ref, sandbox.ResizeRequest(in))
	return q.changed(http.StatusOK, i, err)
}

func (q *request) rename() error {
	var in api.RenameRequest
	if err := q.body(&in); err != nil {
		return err
	}
	i, err := q.s.opt.Manager.Rename(q.r.Context(), q.caller, q.ref, in.Name)
	return q.changed(http.StatusOK, i, err)
}

func (q *request) labels() error {
	var in api.LabelsRequest
	if err := q.body(&in); err != nil {
		return err
	}
	i, err := q.s.opt.Manager.SetLabels(q.r.Context(), q.caller, q.ref, in.Set, in.Remove)
	return q.changed(http.StatusOK, i, err)
}

func (q *request) network() error {
	var in api.NetworkRequest
	if err := q.body(&in); err != nil {
		return err
	}
	if in.Network == nil {
		return invalid("field \"network\" is missing")
	}
	i, err := q.s.opt.Manager.SetNetwork(q.r.Context(), q.caller, q.ref, *in.Network)
	return q.changed(http.StatusOK, i, err)
}
