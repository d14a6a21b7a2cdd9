package server

import (
	"time"

	"cove/runtime/api"
	"cove/runtime/guest"
	"cove/runtime/sandbox"
)

// toSandbox is one sandbox as clients see it.
func toSandbox(i sandbox.Info) api.Sandbox {
	s := api.Sandbox{
		ID: i.ID, Name: i.Name, State: i.State, Desired: i.Desired, Op: i.Op, Progress: i.Progress, Owner: i.Owner,
		Profile: i.Spec.Profile, Image: i.Spec.Image, Labels: i.Spec.Labels,
		Created: i.Created, Started: moment(i.Started), Stopped: moment(i.Stopped), Warnings: i.Warnings, Held: i.Held,
		Due:  toDue(i.Due),
		GPUs: i.GPUs,
	}
	if i.Reason.Kind != "" {
		r := i.Reason
		s.Reason = &r
	}
	return s
}

// toDetail is one sandbox with its spec; sessions are those of a running one.
func toDetail(i sandbox.Info, sessions []guest.SessionInfo) api.Detail {
	d := api.Detail{Sandbox: toSandbox(i), Spec: i.Spec}
	if i.Pid != 0 {
		d.Running = &api.Running{Pid: i.Pid, UIDBase: i.UIDBase, Cgroup: i.Cgroup, Sessions: toSessions(sessions)}
	}
	return d
}

func toSandboxes(list []sandbox.Info) []api.Sandbox {
	out := make([]api.Sandbox, 0, len(list))
	for _, i := range list {
		out = append(out, toSandbox(i))
	}
	return out
}

func toSessions(list []guest.SessionInfo) []api.Session {
	out := make([]api.Session, 0, len(list))
	for _, s := range list {
		out = append(out, api.Session(s))
	}
	return out
}

func toEvent(e sandbox.Event) api.Event {
	s := toSandbox(e.Info)
	kind := api.EventSandbox
	if e.Removed {
		kind = api.EventRemoved
	}
	return api.Event{Type: kind, Cursor: api.Cursor{Epoch: e.Epoch, Seq: e.Seq}, Time: e.Time, Sandbox: &s}
}

// moment is nil for the zero time.
func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
