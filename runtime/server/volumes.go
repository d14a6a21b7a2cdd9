package server

import (
	"net/http"

	"cove/config"
	"cove/runtime/api"
	"cove/runtime/sandbox"
)

func toVolume(i sandbox.VolumeInfo) api.Volume {
	return api.Volume{Name: i.Name, Owner: i.Owner, Created: i.Created, Quota: config.Size(i.Quota), Used: i.Used, Sandboxes: i.Sandboxes}
}

func (q *request) volumes() error {
	if _, err := query(q.r); err != nil {
		return err
	}
	list := q.s.opt.Manager.ListVolumes(q.caller)
	out := make([]api.Volume, 0, len(list))
	for _, i := range list {
		out = append(out, toVolume(i))
	}
	return q.reply(http.StatusOK, out)
}

func (q *request) createVolume() error {
	var in api.VolumeRequest
	if err := q.body(&in); err != nil {
		return err
	}
	i, err := q.s.opt.Manager.CreateVolume(q.r.Context(), q.caller, in.Name, in.Quota)
	if err != nil {
		return err
	}
	return q.reply(http.StatusCreated, toVolume(i))
}

func (q *request) removeVolume() error {
	var in api.VolumeRef
	if err := q.body(&in); err != nil {
		return err
	}
	i, err := q.s.opt.Manager.RemoveVolume(q.r.Context(), q.caller, in.Name)
	if err != nil {
		return err
	}
	return q.reply(http.StatusOK, toVolume(i))
}

func (q *request) attachVolume() error {
	var in api.AttachVolumeRequest
	if err := q.body(&in); err != nil {
		return err
	}
	i, err := q.s.opt.Manager.AttachVolume(q.r.Context(), q.caller, q.ref, in.Volume)
	return q.changed(http.StatusOK, i, err)
}

func (q *request) detachVolume() error {
	var in api.DetachVolumeRequest
	if err := q.body(&in); err != nil {
		return err
	}
	i, err := q.s.opt.Manager.DetachVolume(q.r.Context(), q.caller, q.ref, in.Target)
	return q.changed(http.StatusOK, i, err)
}
