package main

import (
	"context"
	"errors"
	"fmt"
	"path"
	"reflect"
	"slices"

	"cove/runtime/api"
	"cove/runtime/change"
)

// Changes are what a sandbox has changed, one set for each copy-on-write mount, or
// one of its own root where it has none.
func (b backend) Changes(ctx context.Context, id string) ([]api.ChangeSet, error) {
	client, d, err := b.detail(ctx, id)
	if err != nil {
		return nil, err
	}
	if !hasCow(d) {
		all, err := rootChanges(ctx, client, d, nil)
		if err != nil {
			return nil, err
		}
		return []api.ChangeSet{all[0].set()}, nil
	}
	mounts, err := cowMounts(d, nil)
	if err != nil {
		return nil, err
	}
	sets := make([]api.ChangeSet, 0, len(mounts))
	for _, m := range mounts {
		c, err := m.compare(ctx, client, id, change.NoText)
		if err != nil {
			return nil, err
		}
		sets = append(sets, c.set())
	}
	return sets, nil
}

// FileDiff is the change of one path below a mount's target, as a unified diff; of a
// directory with all in it. Of the sandbox's own root it is empty: what was there
// before is not known here.
func (b backend) FileDiff(ctx context.Context, id, target, path string) (string, error) {
	if target == "/" {
		return "", nil
	}
	client, m, _, err := b.mountAt(ctx, id, target, path)
	if err != nil {
		return "", err
	}
	c, err := m.compare(ctx, client, id, change.Unified)
	if err != nil {
		return "", err
	}
	text := ""
	for _, f := range c.found {
		text += f.Diff
	}
	return text, nil
}

// Apply makes changes below a mount's target real: those that were shown, also
// with flags, and with force those with conflicts. Nothing is done where one is in
// the way, or is another now than what was shown.
func (b backend) Apply(ctx context.Context, id, target string, shown []api.FileChange, force bool) error {
	paths := topmost(shown)
	if len(paths) > pathsAtOnce {
		paths = nil // all are looked at
	}
	client, m, d, err := b.mountAt(ctx, id, target, paths...)
	if err != nil {
		return err
	}
	p, err := m.plan(ctx, client, id)
	if err != nil {
		return err
	}
	defer closeQuietly(p.dir)
	if p.found, err = asShown(p.found, shown); err != nil {
		return prefixed(err, d.Name)
	}
	if bad := p.refused(force); len(bad) > 0 {
		return fmt.Errorf("%s: %s: %s%s", d.Name, change.Quote(bad[0].Path), bad[0].Conflict, more(int64(len(bad))))
	}
	var first error
	failed := int64(0)
	err = p.apply(ctx, client, id, p.dir, p.found, func(o change.Outcome) {
		if o.Err == nil {
			return
		}
		if failed++; failed == 1 {
			first = fmt.Errorf("%s: %w", change.Quote(o.Path), reasonOf(o.Err))
		}
	})
	if first != nil {
		err = errors.Join(err, fmt.Errorf("%w%s", first, more(failed)))
	}
	return err
}

// pathsAtOnce is how many paths are named to the daemon: they are a part of a URL.
const pathsAtOnce = 500

// topmost are the paths of changes without those below others of them.
func topmost(list []api.FileChange) []string {
	paths := make([]string, 0, len(list))
	for i := range list {
		paths = append(paths, list[i].Path)
	}
	slices.Sort(paths)
	paths = slices.Compact(paths)
	all := make(map[string]bool, len(paths))
	for _, p := range paths {
		all[p] = true
	}
	return slices.DeleteFunc(paths, func(p string) bool {
		for up := path.Dir(p); up != "." && up != "/"; up = path.Dir(up) {
			if all[up] {
				return true
			}
		}
		return false
	})
}

// asShown are the changes that somebody has seen. The sandbox goes on, and is not
// to be trusted: what is another now is to be looked at again.
func asShown(found []change.Found, shown []api.FileChange) ([]change.Found, error) {
	saw := make(map[string]*api.FileChange, len(shown))
	for i := range shown {
		saw[shown[i].Path] = &shown[i]
	}
	var out []change.Found
	for _, f := range found {
		s := saw[f.Path]
		if s == nil {
			continue
		}
		is, was := f.FileChange, *s
		is.Conflict, was.Conflict = "", "" // is told by itself
		if !reflect.DeepEqual(is, was) {
			return nil, fmt.Errorf("%s: %w", change.Quote(f.Path), change.ErrChanged)
		}
		out = append(out, f)
		delete(saw, f.Path)
	}
	for gone := range saw {
		return nil, fmt.Errorf("%s: %w", change.Quote(gone), change.ErrChanged)
	}
	return out, nil
}

// Discard takes the changes at paths below a mount's target back.
func (b backend) Discard(ctx context.Context, id, target string, paths []string) error {
	list := make([]api.FileChange, len(paths))
	for i, p := range paths {
		list[i].Path = p
	}
	for part := range slices.Chunk(topmost(list), pathsAtOnce) {
		if err := b.discard(ctx, id, target, part); err != nil {
			return err
		}
	}
	return nil
}

func (b backend) discard(ctx context.Context, id, target string, paths []string) error {
	client, m, d, err := b.mountAt(ctx, id, target, paths...)
	if err != nil {
		return err
	}
	p, err := m.plan(ctx, client, id)
	if err != nil {
		return err
	}
	defer closeQuietly(p.dir)
	return m.discard(ctx, client, d, p.dir, p.found)
}

func (b backend) detail(ctx context.Context, id string) (*api.Client, api.Detail, error) {
	client, err := b.a.client(ctx)
	if err != nil {
		return nil, api.Detail{}, err
	}
	d, err := client.Get(ctx, id)
	return client, d, explain(err, "")
}

func (b backend) mountAt(ctx context.Context, id, target string, paths ...string) (*api.Client, mounted, api.Detail, error) {
	client, d, err := b.detail(ctx, id)
	if err != nil {
		return nil, mounted{}, d, err
	}
	all, err := cowMounts(d, nil)
	if err != nil {
		return nil, mounted{}, d, err
	}
	for _, m := range all {
		if m.mount.Target == target {
			m.paths = paths
			return client, m, d, nil
		}
	}
	return nil, mounted{}, d, fmt.Errorf("%s: nothing is mounted copy-on-write at %s", d.Name, target)
}
