package tuitest

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"cove/config"
	"cove/runtime/api"
	"cove/runtime/lifecycle"
)

// Stores is what the fake daemon keeps beside sandboxes.
type Stores struct {
	Images    []api.Image
	Snapshots []api.Snapshot
	Volumes   []api.Volume
	// Sets are what every sandbox changed, Diffs the diffs by path.
	Sets  []api.ChangeSet
	Diffs map[string]string
	// Log is what every sandbox's build printed.
	Log []string
	// Pulls is how far a pull is, one after the other.
	Pulls []api.Progress
	// Refuse, when it is set, is what everything that changes something answers.
	Refuse error
}

// SetStores changes what the daemon keeps.
func (f *Fake) SetStores(s Stores) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stores = s
}

// Images implements the TUI's images.
func (f *Fake) Images(context.Context) ([]api.Image, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.stores.Images), nil
}

// does notes an operation on what is kept, and returns what is answered.
func (f *Fake) does(words ...string) error {
	f.log = append(f.log, strings.TrimSpace(strings.Join(words, " ")))
	return f.stores.Refuse
}

// Pull implements the TUI's images.
func (f *Fake) Pull(ctx context.Context, ref string, each func(api.Progress)) (api.Image, error) {
	f.mu.Lock()
	err := f.does("pull", ref)
	pulls := f.stores.Pulls
	f.mu.Unlock()
	for _, p := range pulls {
		each(p)
	}
	switch {
	case ctx.Err() != nil:
		return api.Image{}, context.Cause(ctx)
	case err != nil:
		return api.Image{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	img := api.Image{ID: fmt.Sprintf("sha256:%064x", len(f.stores.Images)), Ref: ref, Platform: "linux/amd64", Size: 40 << 20, Layers: 3, Pulled: f.Now()}
	f.stores.Images = append(f.stores.Images, img)
	return img, nil
}

// RemoveImage implements the TUI's images.
func (f *Fake) RemoveImage(_ context.Context, ref string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.does("rmi", ref); err != nil {
		return err
	}
	f.stores.Images = slices.DeleteFunc(f.stores.Images, func(i api.Image) bool { return i.Ref == ref || i.ID == ref })
	return nil
}

// PruneImages implements the TUI's images.
func (f *Fake) PruneImages(context.Context) (api.PruneReport, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var r api.PruneReport
	if err := f.does("prune"); err != nil {
		return r, err
	}
	f.stores.Images = slices.DeleteFunc(f.stores.Images, func(i api.Image) bool {
		if len(i.Used) > 0 {
			return false
		}
		r.Images, r.Freed = append(r.Images, i), r.Freed+i.Size
		return true
	})
	return r, nil
}

// Snapshots implements the TUI's snapshots.
func (f *Fake) Snapshots(context.Context) ([]api.Snapshot, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.stores.Snapshots), nil
}

// Snapshot implements the TUI's snapshots: what runs stands still for 12 ms.
func (f *Fake) Snapshot(ctx context.Context, id, name string) (api.Snapshot, error) {
	f.mu.Lock()
	b, refuse := f.boxes[id], f.stores.Refuse
	f.mu.Unlock()
	if refuse != nil {
		return api.Snapshot{}, refuse
	}
	s := api.Snapshot{ID: fmt.Sprintf("%012x", 0xabc), Name: name, Sandbox: b.Name, Image: b.Image, Created: f.Now(), Size: 3 << 20, Layers: 2}
	if b.State.Running() {
		s.Frozen, s.Copied = 0.012, 3<<20
	}
	if err := f.operate(ctx, id, lifecycle.OpSnapshot, b.State, b.Reason); err != nil {
		return s, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stores.Snapshots = append(f.stores.Snapshots, s)
	return s, nil
}

// Fork implements the TUI's snapshots.
func (f *Fake) Fork(ctx context.Context, id string, r api.ForkRequest) (api.ForkResult, error) {
	f.mu.Lock()
	b, refuse := f.boxes[id], f.stores.Refuse
	f.mu.Unlock()
	var out api.ForkResult
	if refuse != nil {
		return out, refuse
	}
	if err := f.operate(ctx, id, lifecycle.OpFork, b.State, b.Reason); err != nil {
		return out, err
	}
	for i := range max(r.Count, 1) {
		n := b
		n.ID, n.Name, n.State = newID(id, i), r.Name, lifecycle.Started
		if r.Count > 1 {
			n.Name = fmt.Sprintf("%s-%d", r.Name, i+1)
		}
		f.Put(n)
		out.Sandboxes = append(out.Sandboxes, n)
	}
	if b.State.Running() {
		out.Frozen, out.Copied = 0.012, 3<<20
	}
	return out, nil
}

func newID(id string, i int) string { return fmt.Sprintf("%sf%d", id, i) }

// DeleteSnapshot implements the TUI's snapshots.
func (f *Fake) DeleteSnapshot(_ context.Context, ref string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.does("snapshot rm", ref); err != nil {
		return err
	}
	f.stores.Snapshots = slices.DeleteFunc(f.stores.Snapshots, func(s api.Snapshot) bool { return s.Name == ref || s.ID == ref })
	return nil
}

// Volumes implements the TUI's volumes.
func (f *Fake) Volumes(context.Context) ([]api.Volume, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.stores.Volumes), nil
}

// CreateVolume implements the TUI's volumes.
func (f *Fake) CreateVolume(_ context.Context, r api.VolumeRequest) (api.Volume, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.does("volume create", r.Name, r.Quota.String()); err != nil {
		return api.Volume{}, err
	}
	v := api.Volume{Name: r.Name, Quota: r.Quota, Created: f.Now()}
	f.stores.Volumes = append(f.stores.Volumes, v)
	return v, nil
}

// DeleteVolume implements the TUI's volumes: one that is in use is not deleted.
func (f *Fake) DeleteVolume(_ context.Context, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.does("volume rm", name); err != nil {
		return err
	}
	i := slices.IndexFunc(f.stores.Volumes, func(v api.Volume) bool { return v.Name == name })
	switch {
	case i < 0:
		return &api.Error{Code: api.CodeNotFound, Message: "there is no volume " + name}
	case len(f.stores.Volumes[i].Sandboxes) > 0:
		return &api.Error{Code: api.CodeConflict, Message: "volume " + name + " is used by " + strings.Join(f.stores.Volumes[i].Sandboxes, ", ")}
	}
	f.stores.Volumes = slices.Delete(f.stores.Volumes, i, i+1)
	return nil
}

// AttachVolume implements the TUI's volumes.
func (f *Fake) AttachVolume(_ context.Context, id string, v config.Volume) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	words := []string{"volume attach", id, v.Name, v.Target, v.Subpath}
	if v.ReadOnly {
		words = append(words, "ro")
	}
	if err := f.does(words...); err != nil {
		return err
	}
	for i := range f.stores.Volumes {
		if f.stores.Volumes[i].Name == v.Name {
			f.stores.Volumes[i].Sandboxes = append(slices.Clone(f.stores.Volumes[i].Sandboxes), f.boxes[id].Name)
		}
	}
	return nil
}

// DetachVolume implements the TUI's volumes.
func (f *Fake) DetachVolume(_ context.Context, id, target string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.does("volume detach", id, target); err != nil {
		return err
	}
	for i := range f.stores.Volumes {
		if v := &f.stores.Volumes[i]; v.Name == target {
			v.Sandboxes = slices.DeleteFunc(slices.Clone(v.Sandboxes), func(n string) bool { return n == f.boxes[id].Name })
		}
	}
	return nil
}

// Rebuild implements the TUI's builds.
func (f *Fake) Rebuild(ctx context.Context, id string) (api.Snapshot, error) {
	f.mu.Lock()
	s := api.Snapshot{ID: "b1", Name: f.boxes[id].Name, Image: "host", Created: f.Now(), Size: 1 << 20, Layers: 2}
	f.mu.Unlock()
	if err := f.operate(ctx, id, lifecycle.OpRebuild, lifecycle.Started, nil); err != nil {
		return s, err
	}
	f.mu.Lock()
	f.stores.Snapshots = append(f.stores.Snapshots, s)
	f.mu.Unlock()
	f.Remove(id)
	return s, nil
}

// LogEnd implements the TUI's builds.
func (f *Fake) LogEnd(_ context.Context, _ string, n int) ([]api.LogLine, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []api.LogLine
	for _, l := range f.stores.Log[max(len(f.stores.Log)-n, 0):] {
		out = append(out, api.LogLine{Time: f.Now(), Source: "setup", Stream: api.LogStdout, Text: l})
	}
	return out, nil
}

// Changes implements the TUI's changes.
func (f *Fake) Changes(context.Context, string) ([]api.ChangeSet, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.stores.Sets), nil
}

// FileDiff implements the TUI's changes.
func (f *Fake) FileDiff(_ context.Context, _, _, path string) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.stores.Diffs[path], nil
}

// Apply implements the TUI's changes.
func (f *Fake) Apply(_ context.Context, id, target string, shown []api.FileChange, force bool) error {
	paths := make([]string, len(shown))
	for i := range shown {
		paths[i] = shown[i].Path
	}
	verb := "apply"
	if force {
		verb += " --force"
	}
	return f.settle(verb, id, target, paths)
}

// Discard implements the TUI's changes.
func (f *Fake) Discard(_ context.Context, id, target string, paths []string) error {
	return f.settle("discard", id, target, paths)
}

func (f *Fake) settle(verb, id, target string, paths []string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.does(append([]string{verb, id, target}, paths...)...); err != nil {
		return err
	}
	f.stores.Sets = slices.Clone(f.stores.Sets)
	for i := range f.stores.Sets {
		if s := &f.stores.Sets[i]; s.Target == target {
			s.Changes = slices.DeleteFunc(slices.Clone(s.Changes), func(c api.FileChange) bool {
				return slices.ContainsFunc(paths, func(p string) bool { return c.Path == p || strings.HasPrefix(c.Path, p+"/") })
			})
		}
	}
	return nil
}
