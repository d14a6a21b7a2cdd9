package server

import (
	"context"
	"io"
	"net/http"
	"strings"

	"cove/config"
	"cove/runtime/api"
	"cove/runtime/image"
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

func (q *request) build() error {
	in := api.BuildRequest{Spec: config.Defaults()}
	if err := q.streamBody(&in); err != nil {
		return err
	}
	auth := map[string]*image.Auth{}
	for registry, a := range in.Auth {
		auth[registry] = authOf(a)
	}
	return q.upload(func(ctx context.Context, tar io.Reader, log io.Writer) (api.Progress, error) {
		i, err := q.s.opt.Manager.Build(ctx, q.caller, sandbox.BuildRequest{
			ID: in.ID, Name: in.Name, Spec: in.Spec, Dockerfile: []byte(in.Dockerfile), Args: in.Args, Target: in.Target, NoCache: in.NoCache,
			Context: tar, Auth: auth, Log: log,
		})
		return builtProgress(i, err)
	})
}

func builtProgress(i sandbox.SnapshotInfo, err error) (api.Progress, error) {
	if err != nil {
		return api.Progress{}, err
	}
	snap := toSnapshot(i)
	return api.Progress{Snapshot: &snap}, nil
}

func (q *request) rebuild() error {
	if err := q.streamBody(&struct{}{}); err != nil {
		return err
	}
	// So that what is refused at once is an answer.
	if _, err := q.s.opt.Manager.Get(q.caller, q.ref); err != nil {
		return err
	}
	return q.upload(func(ctx context.Context, _ io.Reader, log io.Writer) (api.Progress, error) {
		i, err := q.s.opt.Manager.Rebuild(ctx, q.caller, q.ref, log)
		return builtProgress(i, err)
	})
}
