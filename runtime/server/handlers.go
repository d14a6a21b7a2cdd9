package server

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"cove/config"
	"cove/runtime/api"
	"cove/runtime/guest"
	"cove/runtime/lifecycle"
	"cove/runtime/sandbox"
)

// sessionsTimeout is how long a description of a sandbox waits for PID 1 to
// list its sessions; without an answer it goes without them.
const sessionsTimeout = time.Second

func (q *request) status() error {
	if _, err := query(q.r); err != nil {
		return err
	}
	st := q.s.opt.Status
	st.Sandboxes = len(q.s.opt.Manager.List(q.caller))
	if d, err := q.s.opt.Manager.HostDisk(); err != nil {
		q.failure = err // the rest is worth having without it
	} else {
		st.Disk = &api.HostDisk{
			Total: d.Total, Free: d.Free, Inodes: d.Inodes, InodesFree: d.FreeInodes,
			Reserve: d.Reserve, Low: d.Low, Promised: d.Promised,
		}
	}
	st.Warnings = append(slices.Clone(st.Warnings), q.s.opt.Manager.Warnings()...)
	return q.reply(http.StatusOK, st)
}

func (q *request) list() error {
	v, err := query(q.r, "label", "state")
	if err != nil {
		return err
	}
	labels, having := map[string]string{}, []string{}
	for _, l := range v["label"] {
		key, value, ok := strings.Cut(l, "=")
		if key == "" {
			return invalid("query parameter \"label\" takes KEY=VALUE or KEY, not %q", clip(l))
		}
		if !ok {
			having = append(having, key)
			continue
		}
		if was, twice := labels[key]; twice && was != value {
			return invalid("label %q cannot have two values", clip(key))
		}
		labels[key] = value
	}
	for _, s := range v["state"] {
		if !lifecycle.State(s).Valid() {
			return invalid("there is no state %q", clip(s))
		}
	}
	all := slices.DeleteFunc(slices.Clone(q.s.opt.Manager.List(q.caller)), func(i sandbox.Info) bool {
		for key, value := range labels {
			if has, ok := i.Spec.Labels[key]; !ok || has != value {
				return true
			}
		}
		for _, key := range having {
			if _, ok := i.Spec.Labels[key]; !ok {
				return true
			}
		}
		return len(v["state"]) > 0 && !slices.Contains(v["state"], string(i.State))
	})
	return q.reply(http.StatusOK, toSandboxes(all))
}

func (q *request) get() error {
	if _, err := query(q.r); err != nil {
		return err
	}
	i, err := q.s.opt.Manager.Get(q.caller, q.ref)
	if err != nil {
		return err
	}
	var sessions []guest.SessionInfo
	if i.State == lifecycle.Started {
		ctx, cancel := context.WithTimeout(q.r.Context(), sessionsTimeout)
		defer cancel()
		// The description is worth having without them.
		sessions, q.failure = q.s.opt.Manager.Sessions(ctx, q.caller, q.ref)
	}
	return q.reply(http.StatusOK, toDetail(i, sessions))
}

func (q *request) create() error {
	// What a request leaves out is the default, not the zero value: an
	// auto_delete of zero would delete the sandbox when it stops.
	var raw json.RawMessage
	if err := q.body(&raw); err != nil {
		return err
	}
	in := api.CreateRequest{Spec: config.Defaults()}
	err := decodeJSON(bytes.NewReader(raw), &in)
	if err == nil && in.Spec.Image != config.HostImage {
		// Another image has other defaults.
		in = api.CreateRequest{Spec: config.DefaultsFor(in.Spec.Image)}
		err = decodeJSON(bytes.NewReader(raw), &in)
	}
	if err != nil {
		return err
	}
	dirs, err := q.takeFiles()
	if err != nil {
		return err
	}
	defer closeFiles(dirs)
	i, err := q.s.opt.Manager.Create(q.r.Context(), q.caller, sandbox.CreateRequest{
		ID: in.ID, Name: in.Name, Spec: in.Spec, Secrets: in.Secrets, Dirs: dirs, ImageID: in.ImageID, Auth: authOf(in.Auth),
	})
	return q.changed(http.StatusCreated, i, err)
}

func (q *request) delete() error {
	v, err := query(q.r, "now")
	if err != nil {
		return err
	}
	now, err := flag(v, "now", false)
	if err != nil {
		return err
	}
	i, err := q.s.opt.Manager.Delete(q.r.Context(), q.caller, q.ref, now)
	return q.changed(http.StatusOK, i, err)
}

func (q *request) start() error {
	var in api.StartRequest
	if err := q.body(&in); err != nil {
		return err
	}
	if in.Force {
		return invalid("field \"force\" is for stop and restart")
	}
	i, err := q.s.opt.Manager.Start(q.r.Context(), q.caller, q.ref, sandbox.StartRequest{Secrets: in.Secrets, SkipSetup: in.SkipSetup})
	return q.changed(http.StatusOK, i, err)
}

func (q *request) stop() error {
	var in api.StopRequest
	if err := q.body(&in); err != nil {
		return err
	}
	i, err := q.s.opt.Manager.Stop(q.r.Context(), q.caller, q.ref, in.Force)
	return q.changed(http.StatusOK, i, err)
}

func (q *request) restart() error {
	var in api.StartRequest
	if err := q.body(&in); err != nil {
		return err
	}
	if in.SkipSetup {
		return invalid("field \"skip_setup\" is for start")
	}
	i, err := q.s.opt.Manager.Restart(q.r.Context(), q.caller, q.ref, in.Secrets, in.Force)
	return q.changed(http.StatusOK, i, err)
}

func (q *request) sessions() error {
	if _, err := query(q.r); err != nil {
		return err
	}
	list, err := q.s.opt.Manager.Sessions(q.r.Context(), q.caller, q.ref)
	if err != nil {
		return err
	}
	return q.reply(http.StatusOK, toSessions(list))
}

func (q *request) checks() error {
	if _, err := query(q.r); err != nil {
		return err
	}
	list := q.s.opt.Manager.Checks(q.r.Context())
	out := make([]api.Check, 0, len(list))
	for _, c := range list {
		out = append(out, api.Check(c))
	}
	return q.reply(http.StatusOK, out)
}

func (q *request) leaks() error {
	if _, err := query(q.r); err != nil {
		return err
	}
	if q.caller.UID != 0 {
		return &api.Error{Code: api.CodeForbidden, Message: "only root may audit the machine", Hint: "sudo cove doctor --leaks"}
	}
	found, err := q.s.opt.Manager.Audit(q.r.Context())
	if err != nil {
		return err
	}
	out := make([]api.Leak, 0, len(found))
	for _, l := range found {
		out = append(out, api.Leak{Kind: l.Kind, What: l.What})
	}
	return q.reply(http.StatusOK, out)
}

// body reads the JSON body of a request that takes no query.
func (q *request) body(v any) error {
	if _, err := query(q.r); err != nil {
		return err
	}
	return decodeBody(q.w, q.r, v)
}

// changed answers an operation.
func (q *request) changed(status int, i sandbox.Info, err error) error {
	if err != nil {
		return err
	}
	return q.reply(status, toSandbox(i))
}
