package main

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	"cove/runtime/api"
	"cove/runtime/change"
	"cove/runtime/delta"
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

// Apply makes the changes that a person was shown of a mount's real, those with flags
// too, and with force those with conflicts. Nothing is done where one is in the way, or
// is another now than it was shown.
func (b backend) Apply(ctx context.Context, id, target string, shown []api.FileChange, force bool) error {
	paths := make([]string, len(shown))
	was := make(map[string]api.FileChange, len(shown))
	for i, c := range shown {
		paths[i], was[c.Path] = c.Path, c
	}
	if len(paths) == 0 {
		return nil
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
	for _, f := range p.found {
		if c, ok := was[f.Path]; !ok && delta.Within(paths, f.Path) || ok && !reflect.DeepEqual(c, f.FileChange) {
			return fmt.Errorf("%s: %s: %w", d.Name, change.Quote(f.Path), change.ErrChanged)
		}
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

// Discard takes the changes at paths below a mount's target back, all of them for no
// paths.
func (b backend) Discard(ctx context.Context, id, target string, paths []string) error {
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
