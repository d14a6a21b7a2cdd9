package server

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cove/config"
	"cove/runtime/cgroup"
	"cove/runtime/delta"
	"cove/runtime/disk"
	"cove/runtime/doctor"
	"cove/runtime/gpu"
	"cove/runtime/guest"
	"cove/runtime/image"
	"cove/runtime/lifecycle"
	"cove/runtime/sandbox"
)

// The real Manager is what the interface asks for.
var _ Manager = (*sandbox.Manager)(nil)

// memory is a Manager whose sandboxes are records and nothing else, but that
// each may have a PID 1 to talk to: see [playInit].
type memory struct {
	t   testing.TB
	dir string

	mu     sync.Mutex
	boxes  map[string]sandbox.Info // by name
	events []sandbox.Event
	subs   map[chan sandbox.Event]sandbox.Caller
	next   int
	err    error         // what every operation fails with, when set
	block  chan struct{} // operations wait for it, when set
	asked  []string      // operations and their arguments
	dirs   []uint64      // inodes of what came with the last create
}

func newMemory(t testing.TB) *memory {
	return &memory{t: t, dir: t.TempDir(), boxes: map[string]sandbox.Info{}, subs: map[chan sandbox.Event]sandbox.Caller{}}
}

const memoryEpoch = "feed"

// put makes or changes a sandbox.
func (m *memory) put(i sandbox.Info) sandbox.Info {
	m.mu.Lock()
	defer m.mu.Unlock()
	if i.ID == "" {
		m.next++
		i.ID = fmt.Sprintf("%012x", m.next)
	}
	m.boxes[i.Name] = i
	m.tell(i, false)
	return i
}

func (m *memory) tell(i sandbox.Info, removed bool) {
	e := sandbox.Event{Epoch: memoryEpoch, Seq: uint64(len(m.events) + 1), Time: time.Now(), Removed: removed, Info: i}
	m.events = append(m.events, e)
	for ch, c := range m.subs {
		if !c.Sees(i.Owner) {
			continue
		}
		select {
		case ch <- e:
		default: // too slow
			delete(m.subs, ch)
			close(ch)
		}
	}
}

func (m *memory) List(c sandbox.Caller) []sandbox.Info {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.visible(c)
}

func (m *memory) visible(c sandbox.Caller) []sandbox.Info {
	list := slices.SortedFunc(maps.Values(m.boxes), func(a, b sandbox.Info) int { return cmp.Compare(a.Name, b.Name) })
	return slices.DeleteFunc(list, func(i sandbox.Info) bool { return !c.Sees(i.Owner) })
}

func (m *memory) Get(c sandbox.Caller, ref string) (sandbox.Info, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	i, ok := m.boxes[ref]
	switch {
	case !ok:
		return sandbox.Info{}, fmt.Errorf("look up %q: %w", ref, sandbox.ErrNotFound)
	case !c.Sees(i.Owner):
		// Other words on purpose: the server must not pass them on.
		return sandbox.Info{}, fmt.Errorf("%q of uid %d: %w", ref, i.Owner, sandbox.ErrNotFound)
	}
	return i, nil
}

// op is what every operation does first.
func (m *memory) op(ctx context.Context, c sandbox.Caller, ref, what string, args ...any) (sandbox.Info, error) {
	m.mu.Lock()
	text, err := json.Marshal(args)
	m.asked = append(m.asked, fmt.Sprintf("%s %s %s", what, ref, text))
	block, fail := m.block, m.err
	m.mu.Unlock()
	if err != nil {
		return sandbox.Info{}, err
	}
	if block != nil {
		select {
		case <-block:
		case <-ctx.Done():
			return sandbox.Info{}, context.Cause(ctx)
		}
	}
	if fail != nil {
		return sandbox.Info{}, fail
	}
	if what == "create" {
		return sandbox.Info{}, nil
	}
	return m.Get(c, ref)
}

func (m *memory) Create(ctx context.Context, c sandbox.Caller, r sandbox.CreateRequest) (sandbox.Info, error) {
	name := r.Name
	m.mu.Lock()
	m.dirs = nil
	for _, f := range r.Dirs {
		var st unix.Stat_t
		if err := unix.Fstat(int(f.Fd()), &st); err != nil {
			m.t.Error(err)
		}
		m.dirs = append(m.dirs, st.Ino)
	}
	m.mu.Unlock()
	if _, err := m.op(ctx, c, name, "create", r.Spec, r.Secrets, r.ID); err != nil {
		return sandbox.Info{}, err
	}
	m.mu.Lock()
	_, taken := m.boxes[name]
	m.mu.Unlock()
	if taken {
		return sandbox.Info{}, fmt.Errorf("%q: %w", name, sandbox.ErrExists)
	}
	return m.put(sandbox.Info{ID: r.ID, Name: name, Owner: c.UID, State: lifecycle.Started, Desired: lifecycle.Started, Spec: r.Spec, Created: time.Now()}), nil
}

func (m *memory) Start(ctx context.Context, c sandbox.Caller, ref string, r sandbox.StartRequest) (sandbox.Info, error) {
	return m.op(ctx, c, ref, "start", r.Secrets, r.SkipSetup)
}

func (m *memory) Stop(ctx context.Context, c sandbox.Caller, ref string, force bool) (sandbox.Info, error) {
	return m.op(ctx, c, ref, "stop", force)
}

func (m *memory) Restart(ctx context.Context, c sandbox.Caller, ref string, secrets map[string]string, force bool) (sandbox.Info, error) {
	return m.op(ctx, c, ref, "restart", secrets, force)
}

func (m *memory) Deleted(sandbox.Caller) []sandbox.Deleted { return nil }

func (m *memory) Undo(context.Context, sandbox.Caller, string) (sandbox.Info, error) {
	return sandbox.Info{}, sandbox.ErrNotFound
}

func (m *memory) Delete(ctx context.Context, c sandbox.Caller, ref string, _ bool) (sandbox.Info, error) {
	i, err := m.op(ctx, c, ref, "delete")
	if err != nil {
		return i, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.boxes, i.Name)
	i.State = lifecycle.Destroyed
	m.tell(i, true)
	return i, nil
}

func (m *memory) Pause(ctx context.Context, c sandbox.Caller, ref string) (sandbox.Info, error) {
	return m.op(ctx, c, ref, "pause")
}

func (m *memory) Archive(ctx context.Context, c sandbox.Caller, ref string, _ bool) (sandbox.Info, error) {
	return m.op(ctx, c, ref, "archive")
}

func (m *memory) Resume(ctx context.Context, c sandbox.Caller, ref string) (sandbox.Info, error) {
	return m.op(ctx, c, ref, "resume")
}

func (m *memory) Resize(ctx context.Context, c sandbox.Caller, ref string, r sandbox.ResizeRequest) (sandbox.Info, error) {
	return m.op(ctx, c, ref, "resize", r)
}

func (m *memory) Rename(ctx context.Context, c sandbox.Caller, ref, name string) (sandbox.Info, error) {
	return m.op(ctx, c, ref, "rename", name)
}

func (m *memory) SetNetwork(ctx context.Context, c sandbox.Caller, ref string, n config.Network) (sandbox.Info, error) {
	return m.op(ctx, c, ref, "network", n)
}

func (m *memory) SetLabels(ctx context.Context, c sandbox.Caller, ref string, set map[string]string, remove []string) (sandbox.Info, error) {
	return m.op(ctx, c, ref, "labels", set, remove)
}

func (m *memory) SetAutomation(ctx context.Context, c sandbox.Caller, ref string, a config.Automation) (sandbox.Info, error) {
	return m.op(ctx, c, ref, "automation", a)
}

func (m *memory) Touch(ctx context.Context, c sandbox.Caller, ref string) (sandbox.Info, error) {
	return m.op(ctx, c, ref, "touch")
}

func (m *memory) Changes(_ context.Context, c sandbox.Caller, ref string, r sandbox.ChangesRequest, begin func() io.Writer) error {
	if _, err := m.Get(c, ref); err != nil {
		return err
	}
	if r.Target != "/workspace" {
		return &sandbox.InvalidError{Problems: []config.Problem{{Key: "target", Message: "there is nothing"}}}
	}
	out := delta.NewWriter(begin())
	return errors.Join(out.Put(delta.Entry{Path: "a", Kind: delta.Gone}), out.Close(nil))
}

func (m *memory) Applied(c sandbox.Caller, ref, _ string, _ []delta.Change) error {
	_, err := m.Get(c, ref)
	return err
}

func (m *memory) Discard(ctx context.Context, c sandbox.Caller, ref, _ string, _ []string) (sandbox.Info, error) {
	return m.op(ctx, c, ref, "discard")
}

// socket is where the sandbox's PID 1 listens.
func (m *memory) socket(i sandbox.Info) string { return filepath.Join(m.dir, i.ID) }

func (m *memory) Guest(_ context.Context, c sandbox.Caller, ref, _ string) (*sandbox.Guest, error) {
	i, err := m.Get(c, ref)
	if err != nil {
		return nil, err
	}
	if lifecycle.Check(lifecycle.OpExec, i.State) != lifecycle.Allowed {
		return nil, &sandbox.ConflictError{Name: i.Name, Op: i.Op, State: i.State, Why: lifecycle.Why(lifecycle.OpExec, i.State)}
	}
	return &sandbox.Guest{Info: i, Client: guest.NewClient(m.socket(i))}, nil
}

func (m *memory) Files(ctx context.Context, c sandbox.Caller, ref string) (*sandbox.Guest, error) {
	return m.Guest(ctx, c, ref, "")
}

func (m *memory) Logs(ctx context.Context, c sandbox.Caller, ref string) ([]sandbox.KeptLog, *sandbox.Guest, error) {
	g, err := m.Guest(ctx, c, ref, "")
	return []sandbox.KeptLog{{Source: "setup", Text: []byte("one\ntwo\xff"), Written: time.Unix(5, 0)}}, g, err
}

func (m *memory) Sessions(ctx context.Context, c sandbox.Caller, ref string) ([]guest.SessionInfo, error) {
	i, err := m.Get(c, ref)
	if err != nil || !i.State.Running() {
		return nil, err
	}
	return guest.NewClient(m.socket(i)).Sessions(ctx)
}

func (m *memory) Subscribe(ctx context.Context, c sandbox.Caller, since *sandbox.Cursor) (*sandbox.Subscription, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	last := uint64(len(m.events))
	var missed []sandbox.Event
	fresh := since == nil || since.Epoch != memoryEpoch || since.Seq > last
	if !fresh {
		missed = slices.DeleteFunc(slices.Clone(m.events[since.Seq:]), func(e sandbox.Event) bool { return !c.Sees(e.Info.Owner) })
	}
	ch := make(chan sandbox.Event, 256+len(missed))
	for _, e := range missed {
		ch <- e
	}
	sub := &sandbox.Subscription{Fresh: fresh, At: sandbox.Cursor{Epoch: memoryEpoch, Seq: last}, Events: ch}
	if fresh {
		sub.Snapshot = m.visible(c)
	}
	m.subs[ch] = c
	context.AfterFunc(ctx, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if _, ok := m.subs[ch]; ok {
			delete(m.subs, ch)
			close(ch)
		}
	})
	return sub, nil
}

func (m *memory) Audit(context.Context) ([]doctor.Leak, error) {
	if m.err != nil {
		return nil, m.err
	}
	return []doctor.Leak{{Kind: "cgroup", What: "x"}}, nil
}

func (m *memory) Checks(context.Context) []doctor.Check {
	return []doctor.Check{{Name: "overlay", OK: true, Detail: "by descriptor"}}
}

func (m *memory) Warnings() []string { return []string{"no quota"} }

// count is how many operations have begun.
func (m *memory) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.asked)
}

// with sets what operations fail with.
func (m *memory) with(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
}

var errBoom = errors.New("boom")

func (m *memory) Stats(_ context.Context, c sandbox.Caller) (sandbox.StatsReport, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return sandbox.StatsReport{}, m.err
	}
	r := sandbox.StatsReport{Time: time.Unix(7, 0).UTC()}
	for _, i := range m.visible(c) {
		if i.State.Running() {
			r.Sandboxes = append(r.Sandboxes, sandbox.Stats{
				ID: i.ID, Name: i.Name, Owner: i.Owner, CPU: 1.5, NetRx: 3, NetTx: 4, NetRxRate: 5, NetTxRate: 6, Active: time.Unix(6, 0).UTC(),
				IOReadRate: 23, IOWriteRate: 24,
				Usage: cgroup.Usage{
					CPU: 2500 * time.Millisecond, CPULimit: 2, Memory: 10, MemoryPeak: 11, MemoryLimit: 12, Swap: 13, Pids: 14, PidsLimit: 15,
					IORead: 21, IOWrite: 22, CPUPressure: 0.25, MemoryPressure: 0.5, IOPressure: 0.75, Throttled: 26 * time.Second, OOMKills: 27,
				},
			})
		}
	}
	return r, nil
}

// FollowStats gives two samples, then waits for the end.
func (m *memory) FollowStats(ctx context.Context, c sandbox.Caller) (<-chan sandbox.StatsReport, error) {
	r, err := m.Stats(ctx, c)
	if err != nil {
		return nil, err
	}
	ch := make(chan sandbox.StatsReport, 2)
	ch <- r
	ch <- r
	context.AfterFunc(ctx, func() { close(ch) })
	return ch, nil
}

// History is one change and one sample, as old as was asked for.
func (m *memory) History(c sandbox.Caller, ref string, since time.Duration) (sandbox.History, error) {
	i, err := m.Get(c, ref)
	if err != nil {
		return sandbox.History{}, err
	}
	at := time.Unix(1e9, 0).UTC().Add(-since)
	return sandbox.History{
		Changes: []sandbox.Change{{Time: at, State: i.State, Op: lifecycle.OpStart, Held: "full"}, {Time: at, State: lifecycle.Stopped, Reason: lifecycle.Reason{Kind: lifecycle.ReasonOOM}}},
		Samples: []sandbox.Sample{{Time: at, Span: 10 * time.Second, CPU: 1.5, GPU: 0.5, Memory: 1, Disk: 2, Pids: 3}},
	}, nil
}

func aSnapshot(c sandbox.Caller, name string) sandbox.SnapshotInfo {
	return sandbox.SnapshotInfo{Snapshot: sandbox.Snapshot{ID: "0123456789ab", Name: name, Owner: c.UID, Image: "host"}, Size: 4096}
}

func (m *memory) Snapshot(_ context.Context, c sandbox.Caller, ref, name string) (sandbox.SnapshotInfo, error) {
	if _, err := m.Get(c, ref); err != nil {
		return sandbox.SnapshotInfo{}, err
	}
	return aSnapshot(c, name), nil
}

func (m *memory) Snapshots(_ context.Context, c sandbox.Caller) ([]sandbox.SnapshotInfo, error) {
	return []sandbox.SnapshotInfo{aSnapshot(c, "s")}, nil
}

func (m *memory) RemoveSnapshot(_ context.Context, c sandbox.Caller, ref string) (sandbox.SnapshotInfo, error) {
	if ref == "" {
		return sandbox.SnapshotInfo{}, sandbox.ErrNoSnapshot
	}
	return aSnapshot(c, ref), nil
}

func (m *memory) Fork(_ context.Context, c sandbox.Caller, ref string, r sandbox.ForkRequest) (sandbox.Forks, error) {
	i, err := m.Get(c, ref)
	if err != nil {
		return sandbox.Forks{}, err
	}
	f := sandbox.Forks{Errors: make([]error, r.Count)}
	for range r.Count {
		f.Sandboxes = append(f.Sandboxes, i)
	}
	return f, nil
}

func (m *memory) Build(_ context.Context, c sandbox.Caller, r sandbox.BuildRequest) (sandbox.SnapshotInfo, error) {
	_, _ = io.Copy(io.Discard, r.Context)
	return aSnapshot(c, r.Name), nil
}

func (m *memory) Rebuild(_ context.Context, c sandbox.Caller, ref string, _ io.Writer) (sandbox.SnapshotInfo, error) {
	if _, err := m.Get(c, ref); err != nil {
		return sandbox.SnapshotInfo{}, err
	}
	return aSnapshot(c, "s"), nil
}

func (m *memory) Export(_ context.Context, c sandbox.Caller, ref string, w io.Writer) error {
	if _, err := m.Get(c, ref); err != nil {
		return err
	}
	_, err := io.WriteString(w, "archive")
	return err
}

func (m *memory) Import(_ context.Context, c sandbox.Caller, name string, r io.Reader) (sandbox.Info, []string, error) {
	_, err := io.Copy(io.Discard, r)
	return sandbox.Info{ID: "0123456789ab", Name: name, Owner: c.UID}, nil, err
}

// anImage is the caller's only one.
func anImage(c sandbox.Caller) sandbox.ImageInfo {
	return sandbox.ImageInfo{Image: image.Image{ID: "sha256:" + strings.Repeat("ab", 32), Ref: "docker.io/library/debian:12", Owner: c.UID, Layers: []string{"sha256-1"}}, Size: 4096}
}

func (m *memory) Images(_ context.Context, c sandbox.Caller) ([]sandbox.ImageInfo, error) {
	return []sandbox.ImageInfo{anImage(c)}, nil
}

func (m *memory) PullImage(_ context.Context, c sandbox.Caller, r image.Request, progress func(image.Progress)) (sandbox.ImageInfo, error) {
	if r.Ref == "" {
		return sandbox.ImageInfo{}, &sandbox.ImageError{Image: r.Ref, Why: "none", Err: image.ErrReference}
	}
	progress(image.Progress{Layers: 1, Done: 1, Total: 2})
	return anImage(c), nil
}

func (m *memory) ImportImage(_ context.Context, c sandbox.Caller, r image.ImportRequest) (sandbox.ImageInfo, error) {
	if _, err := io.Copy(io.Discard, r.Tar); err != nil {
		return sandbox.ImageInfo{}, err
	}
	return anImage(c), nil
}

func (m *memory) ExportImage(_ context.Context, _ sandbox.Caller, _ string, w io.Writer) error {
	_, err := io.WriteString(w, "tar")
	return err
}

func (m *memory) RemoveImage(_ context.Context, c sandbox.Caller, ref string) (sandbox.ImageInfo, error) {
	if ref == "" {
		return sandbox.ImageInfo{}, &sandbox.ImageError{Image: ref, Why: "none", Err: image.ErrNotFound}
	}
	return anImage(c), nil
}

func (m *memory) PruneImages(_ context.Context, c sandbox.Caller) ([]sandbox.ImageInfo, int64, error) {
	return []sandbox.ImageInfo{anImage(c)}, 4096, nil
}

// GPUs is one card, held by the caller's sandboxes and one of somebody else's.
func (m *memory) GPUs(_ context.Context, c sandbox.Caller) []sandbox.GPU {
	m.mu.Lock()
	defer m.mu.Unlock()
	g := sandbox.GPU{Device: gpu.Device{ID: "nvidia.com/gpu=0", UUID: "GPU-1", Vendor: "NVIDIA", Model: "H200", Nodes: []string{"/dev/nvidia0"}, Source: "nvidia-ctk"}, Shared: true}
	g.Use = gpu.Use{Utilization: 0.5, Memory: 1, MemoryTotal: 2}
	for _, i := range m.visible(c) {
		g.Holders = append(g.Holders, i.Name)
	}
	g.Held = len(g.Holders) + 1
	return []sandbox.GPU{g, {Device: gpu.Device{ID: "v.example/gpu=0", Index: 1}, Use: gpu.Use{Missing: []string{gpu.Memory}}}}
}

func (m *memory) HostDisk() (sandbox.HostDisk, error) {
	return sandbox.HostDisk{Space: disk.Space{Total: 100, Free: 9}, Reserve: 10, Low: true, Promised: 50}, nil
}

func aVolume(c sandbox.Caller, name string) sandbox.VolumeInfo {
	var i sandbox.VolumeInfo
	i.Name, i.Owner = name, c.UID
	return i
}

func (m *memory) ListVolumes(c sandbox.Caller) []sandbox.VolumeInfo {
	return []sandbox.VolumeInfo{aVolume(c, "v")}
}

func (m *memory) CreateVolume(_ context.Context, c sandbox.Caller, name string, _ config.Size) (sandbox.VolumeInfo, error) {
	return aVolume(c, name), nil
}

func (m *memory) RemoveVolume(_ context.Context, c sandbox.Caller, name string) (sandbox.VolumeInfo, error) {
	if name == "" {
		return sandbox.VolumeInfo{}, sandbox.ErrNoVolume
	}
	return aVolume(c, name), nil
}

func (m *memory) AttachVolume(_ context.Context, c sandbox.Caller, ref string, _ config.Volume) (sandbox.Info, error) {
	return m.Get(c, ref)
}

func (m *memory) DetachVolume(_ context.Context, c sandbox.Caller, ref, _ string) (sandbox.Info, error) {
	return m.Get(c, ref)
}
