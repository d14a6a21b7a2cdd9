package server

import (
	"net/http"
	"strings"

	"cove/runtime/api"
	"cove/runtime/sandbox"
)

func toSnapshot(i sandbox.SnapshotInfo) api.Snapshot {
	return api.Snapshot{
		ID: i.ID, Name: i.Name, Owner: i.Owner, Sandbox: i.Sandbox, Image: i.Image, Parent: i.Parent, Created: i.Created,
		Size: i.Size, Layers: len(i.Base.Layers), Frozen: i.Frozen.Seconds(), Copied: i.Copied, Used: i.Used,
	}
}

func (q *request) snapshot() error {
	var in api.SnapshotRequest
	if err := q.body(&in); err != nil {
		return err
	}
	i, err := q.s.opt.Manager.Snapshot(q.r.Context(), q.caller, q.ref, in.Name)
	if err != nil {
		return err
	}
	return q.reply(http.StatusCreated, toSnapshot(i))
}

func (q *request) snapshots() error {
	if _, err := query(q.r); err != nil {
		return err
	}
	list, err := q.s.opt.Manager.Snapshots(q.r.Context(), q.caller)
	if err != nil {
		return err
	}
	out := make([]api.Snapshot, 0, len(list))
	for _, i := range list {
		out = append(out, toSnapshot(i))
	}
	return q.reply(http.StatusOK, out)
}

func (q *request) removeSnapshot() error {
	var in api.SnapshotRef
	if err := q.body(&in); err != nil {
		return err
	}
	i, err := q.s.opt.Manager.RemoveSnapshot(q.r.Context(), q.caller, in.Ref)
	if err != nil {
		return err
	}
	return q.reply(http.StatusOK, toSnapshot(i))
}

func (q *request) fork() error {
	var in api.ForkRequest
	if err := q.body(&in); err != nil {
		return err
	}
	dirs, err := q.takeFiles()
	if err != nil {
		return err
	}
	defer closeFiles(dirs)
	f, err := q.s.opt.Manager.Fork(q.r.Context(), q.caller, q.ref, sandbox.ForkRequest{Name: in.Name, Count: in.Count, Secrets: in.Secrets, Dirs: dirs})
	if err != nil {
		return err
	}
	out := api.ForkResult{Sandboxes: []api.Sandbox{}, Frozen: f.Frozen.Seconds(), Copied: f.Copied}
	for i, made := range f.Sandboxes {
		if err := f.Errors[i]; err != nil {
			e := *apiError(err)
			if name := f.Names[i]; !strings.HasPrefix(e.Message, name+": ") {
				e.Message = name + ": " + e.Message
			}
			out.Errors = append(out.Errors, e)
			continue
		}
		out.Sandboxes = append(out.Sandboxes, toSandbox(made))
	}
	return q.reply(http.StatusCreated, out)
}
