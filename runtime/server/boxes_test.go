package server

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cove/config"
	"cove/runtime/api"
	"cove/runtime/lifecycle"
	"cove/runtime/sandbox"
)

func TestListFilters(t *testing.T) {
	h := newHost(t)
	for name, labels := range map[string]map[string]string{"a": {"x": "1", "y": "2"}, "b": {"x": "1"}, "c": nil} {
		i := h.infoIn(name, owner, lifecycle.Started)
		if name == "b" {
			i.State = lifecycle.Stopped
		}
		i.Spec.Labels = labels
		h.m.put(i)
	}
	c := h.as(owner)
	for want, o := range map[string]api.ListOptions{
		"a b c": {}, "a b": {Labels: map[string]string{"x": "1"}}, "a": {Labels: map[string]string{"x": "1", "y": "2"}},
		"": {Labels: map[string]string{"z": ""}}, "b": {States: []lifecycle.State{lifecycle.Stopped}},
		"a c": {States: []lifecycle.State{lifecycle.Started, lifecycle.Error}},
		" a":  {Having: []string{"y"}}, " a b": {Having: []string{"x"}}, " b": {Having: []string{"x"}, States: []lifecycle.State{lifecycle.Stopped}},
		" ": {Labels: map[string]string{"x": "1"}, Having: []string{"z"}},
	} {
		list, err := c.List(t.Context(), o)
		noError(t, err)
		var names []string
		for _, s := range list {
			names = append(names, s.Name)
		}
		equal(t, strings.TrimSpace(want), strings.Join(names, " "))
	}
	// No sandbox is an empty list, not null.
	equal(t, "[]\n", h.ask(other, "GET", "/v1/sandboxes", "").body)
}

func TestDetail(t *testing.T) {
	h := newHost(t)
	begin := time.Unix(100, 5).UTC()
	full := sandbox.Info{
		ID: "0123456789ab", Name: "a", Owner: owner, State: lifecycle.Started, Desired: lifecycle.Started, Op: lifecycle.OpSnapshot, Progress: "p",
		Reason:  lifecycle.Reason{Kind: lifecycle.ReasonExited, Code: 3},
		Spec:    config.Spec{Profile: "python", Image: "host", Labels: map[string]string{"k": "v"}, Env: map[string]config.EnvVar{"T": {From: "env"}}},
		Created: begin, Started: begin.Add(time.Second), Stopped: begin.Add(2 * time.Second), Warnings: []string{"w"},
		Pid: 5, UIDBase: 6, Cgroup: "/c",
	}
	h.m.put(full)
	playInit(t, h.m.socket(full))
	c := h.as(owner)
	d, err := c.Get(t.Context(), "a")
	noError(t, err)
	started, stopped := begin.Add(time.Second), begin.Add(2*time.Second)
	want := api.Detail{
		Sandbox: api.Sandbox{
			ID: "0123456789ab", Name: "a", Owner: owner, State: lifecycle.Started, Desired: lifecycle.Started, Op: lifecycle.OpSnapshot,
			Progress: "p", Reason: &lifecycle.Reason{Kind: lifecycle.ReasonExited, Code: 3}, Profile: "python", Image: "host", Labels: map[string]string{"k": "v"},
			Created: begin, Started: &started, Stopped: &stopped, Warnings: []string{"w"},
		},
		Spec:    full.Spec,
		Running: &api.Running{Pid: 5, UIDBase: 6, Cgroup: "/c", Sessions: []api.Session{{Name: "main", Command: []string{"sh"}, Cols: 80, Rows: 24, Created: time.Unix(5, 0)}}},
	}
	equal(t, want, d)
	list, err := c.Sessions(t.Context(), "a")
	noError(t, err)
	equal(t, want.Running.Sessions, list)

	// One that never ran has no times, no reason and nothing that runs.
	h.m.put(h.infoIn("b", owner, lifecycle.Creating))
	d, err = c.Get(t.Context(), "b")
	noError(t, err)
	if d.Reason != nil || d.Started != nil || d.Stopped != nil || d.Running != nil {
		t.Errorf("out of nothing: %+v", d)
	}
	// One whose PID 1 does not answer is described all the same.
	h.info("deaf", owner)
	d, err = c.Get(t.Context(), "deaf")
	noError(t, err)
	equal(t, 77, d.Running.Pid)
	_, err = c.Sessions(t.Context(), "deaf")
	errorIs(t, err, api.ErrUnavailable)

	st, err := c.Status(t.Context())
	noError(t, err)
	equal(t, api.DaemonStatus{Pid: 42, Version: "test", Inst: "abcdef", Sandboxes: 3, Warnings: []string{"no quota"}, Disk: &api.HostDisk{Total: 100, Free: 9, Reserve: 10, Low: true, Promised: 50}}, st)
}

// What reaches the Manager is what the caller sent, the secrets apart.
func TestOperationsPassOn(t *testing.T) {
	h := newHost(t)
	c := h.as(owner)
	ctx := t.Context()
	secrets := map[string]string{"T": "s"}
	s, err := c.Create(ctx, api.CreateRequest{ID: "abcdef012345", Name: "a", Spec: config.Spec{Image: "host"}, Secrets: secrets})
	noError(t, err)
	equal(t, owner, s.Owner)
	equal(t, "abcdef012345", s.ID)
	_, err = c.Start(ctx, "a", api.StartRequest{Secrets: secrets, SkipSetup: true})
	noError(t, err)
	_, err = c.Stop(ctx, "a", api.StopRequest{Force: true})
	noError(t, err)
	_, err = c.Restart(ctx, "a", api.StartRequest{Secrets: secrets, StopRequest: api.StopRequest{Force: true}})
	noError(t, err)
	gone, err := c.Delete(ctx, "a", false)
	noError(t, err)
	equal(t, lifecycle.Destroyed, gone.State)
	equal(t, 5, len(h.m.asked))
	contains(t, h.m.asked[0], `create a [{"image":"host"`)
	contains(t, h.m.asked[0], `,{"T":"s"},"abcdef012345"]`)
	equal(t, `start a [{"T":"s"},true]`, h.m.asked[1])
	equal(t, `stop a [true]`, h.m.asked[2])
	equal(t, `restart a [{"T":"s"},true]`, h.m.asked[3])
	equal(t, `delete a null`, h.m.asked[4])
	leaks, err := h.as(root).Leaks(ctx)
	noError(t, err)
	equal(t, []api.Leak{{Kind: "cgroup", What: "x"}}, leaks)
}

// No path that a caller names is opened, looked up or made, whatever field of
// whatever request it stands in.
func TestNoNamedPathIsTouched(t *testing.T) {
	h := newHost(t)
	playInit(t, h.m.socket(h.info("a", owner)))
	trap := t.TempDir()
	file := filepath.Join(trap, "file")
	noError(t, os.WriteFile(file, []byte("x"), 0o666))
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	noError(t, err)
	watch := os.NewFile(uintptr(fd), "inotify")
	defer func() { _ = watch.Close() }()
	for _, path := range []string{trap, file} {
		_, err := unix.InotifyAddWatch(fd, path, unix.IN_ALL_EVENTS)
		noError(t, err)
	}
	for _, p := range []string{file, trap, filepath.Join(trap, "new"), "file:" + file, "oci:" + trap, filepath.Join("/proc/self/root", file)} {
		spec := config.Spec{
			Profile: p, Description: p, Image: p, Language: p, Shell: []string{p}, User: p, Workdir: p, Setup: []string{p}, Runtime: p,
			Env: map[string]config.EnvVar{"A": {Value: p, From: p}}, Labels: map[string]string{p: p},
			Mounts:  []config.Mount{{Source: p, Target: p, Mode: p}},
			Volumes: []config.Volume{{Name: p, Target: p, Subpath: p}},
			Network: config.Network{Allow: []string{p}, Deny: []string{p}, Domains: []string{p}},
		}
		spec.Resources.GPU.IDs = []string{p}
		spec.Automation.PreStop = []string{p}
		c := h.as(owner)
		ctx := t.Context()
		_, err := c.Create(ctx, api.CreateRequest{Name: p, Spec: spec, Secrets: map[string]string{p: p}})
		noError(t, err)
		_, err = c.Get(ctx, p)
		noError(t, err)
		_, err = c.List(ctx, api.ListOptions{Labels: map[string]string{p: p}})
		noError(t, err)
		_, err = c.Start(ctx, p, api.StartRequest{Secrets: map[string]string{p: p}})
		noError(t, err)
		s, err := c.Exec(ctx, "a", api.ExecRequest{Argv: []string{"exit", "0", p}, Env: map[string]string{"A": p}, Dir: "/" + p})
		noError(t, err)
		noError(t, s.Close())
		_, err = c.Attach(ctx, "a", api.AttachRequest{Session: p, Argv: []string{p}, Term: p})
		anError(t, err)
		_, err = c.Events(ctx, &api.Cursor{Epoch: p}, false)
		errorIs(t, err, api.ErrInvalid)
		_, err = c.Delete(ctx, p, true)
		noError(t, err)
	}
	buf := make([]byte, 4096)
	n, err := unix.Read(fd, buf)
	if err == nil {
		t.Errorf("touched: %s", inotifyMasks(buf[:n]))
	}
	errorIs(t, err, unix.EAGAIN)
	// The trap works.
	_, err = os.ReadFile(file)
	noError(t, err)
	_, err = unix.Read(fd, buf)
	noError(t, err)
}

func inotifyMasks(b []byte) string {
	var s []string
	for len(b) >= unix.SizeofInotifyEvent {
		s = append(s, fmt.Sprintf("%#x", binary.NativeEndian.Uint32(b[4:])))
		b = b[unix.SizeofInotifyEvent+int(binary.NativeEndian.Uint32(b[12:])):]
	}
	return strings.Join(s, " ")
}
