package tuitest

import (
	"context"
	"maps"

	"cove/config"
	"cove/runtime/api"
	"cove/runtime/lifecycle"
)

// Pause implements the TUI's backend.
func (f *Fake) Pause(ctx context.Context, id string) error {
	return f.operate(ctx, id, lifecycle.OpPause, lifecycle.Paused, nil)
}

// Resume implements the TUI's backend.
func (f *Fake) Resume(ctx context.Context, id string) error {
	return f.operate(ctx, id, lifecycle.OpResume, lifecycle.Started, nil)
}

// Rename implements the TUI's backend.
func (f *Fake) Rename(_ context.Context, id, name string) error {
	return f.update("rename", id, name, func(b *api.Sandbox) error {
		for _, other := range f.boxes {
			if other.Name == name && other.ID != id {
				return &api.Error{Code: api.CodeExists, Message: "the name " + name + " is taken"}
			}
		}
		b.Name = name
		return nil
	})
}

// SetLabels implements the TUI's backend.
func (f *Fake) SetLabels(_ context.Context, id string, r api.LabelsRequest) error {
	return f.update("label", id, "", func(b *api.Sandbox) error {
		labels := maps.Clone(b.Labels)
		if labels == nil {
			labels = make(map[string]string)
		}
		maps.Copy(labels, r.Set)
		for _, k := range r.Remove {
			delete(labels, k)
		}
		b.Labels = labels
		return nil
	})
}

// update changes a sandbox's record.
func (f *Fake) update(verb, id, arg string, change func(*api.Sandbox) error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	line := verb + " " + id
	if arg != "" {
		line += " " + arg
	}
	f.log = append(f.log, line)
	b, ok := f.boxes[id]
	if !ok {
		return &api.Error{Code: api.CodeNotFound, Message: "there is no sandbox " + id}
	}
	if err := change(&b); err != nil {
		return err
	}
	f.boxes[id] = b
	f.tell(api.EventSandbox, b)
	return nil
}

// Get implements the TUI's backend: every sandbox was made from the same
// description, with something of everything, and has one session.
func (f *Fake) Get(_ context.Context, id string) (api.Detail, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b, ok := f.boxes[id]
	if !ok {
		return api.Detail{}, &api.Error{Code: api.CodeNotFound, Message: "there is no sandbox " + id}
	}
	d := api.Detail{Sandbox: b, Spec: config.Spec{
		Profile: b.Profile, Image: b.Image, Shell: []string{"/bin/bash", "-l"}, User: "dev", Workdir: "/workspace", Runtime: "runc",
		Resources:  config.Resources{CPU: 4, Memory: 4 * config.GiB, Disk: 10 * config.GiB, Pids: 4096},
		Network:    config.Network{Allow: []string{"10.0.0.0/8", "192.0.2.7:443"}},
		Ports:      []config.Port{{Port: 8080}, {Port: 9000, Public: true}},
		Env:        map[string]config.EnvVar{"EDITOR": {Value: "vim"}, "API_KEY": {From: "env"}},
		Labels:     b.Labels,
		Mounts:     []config.Mount{{Source: "/home/me/src/app", Target: "/workspace", Mode: config.MountRW}},
		Volumes:    []config.Volume{{Name: "pip-cache", Target: "/cache", ReadOnly: true}},
		Automation: config.Automation{AutoArchive: config.Duration(7 * 24 * 3600e9), AutoDelete: config.Never, TTL: config.Never},
	}}
	if r, ok := f.sizes[id]; ok {
		d.Spec.Resources = r
	}
	if auto, ok := f.autos[id]; ok {
		d.Spec.Automation = auto
	}
	if b.State == lifecycle.Started {
		d.Running = &api.Running{Pid: 4242, UIDBase: 100000, Cgroup: "/cove/" + b.ID, Sessions: []api.Session{
			{Name: "main", Command: []string{"/bin/bash", "-l"}, Cols: 80, Rows: 24, Clients: 1, Created: b.Created, Activity: b.Created},
		}}
	}
	return d, nil
}
