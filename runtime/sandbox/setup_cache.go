package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"cove/runtime/guest"
	"cove/runtime/lifecycle"
	"cove/runtime/rootfs"
)

// What setup steps make is kept as layers, so that the next sandbox of the profile
// takes none again: as steps of a build are, and in their place of the life cycle.
// Kept is only what nothing of the caller's was visible to: no variable of the
// environment, no mount and no volume; else another's sandbox, or a later one, would
// have what was the caller's then. Such steps run as they always did, in the sandbox
// itself.

// cacheable tells whether what the setup steps make may be kept.
func (r record) cacheable(secrets map[string]string) bool {
	s := r.Spec
	return len(s.Setup) > 0 && !r.SetupDone && r.SetupSteps == 0 && len(secrets) == 0 && len(s.FromCaller()) == 0 && len(s.Mounts) == 0 && len(s.Volumes) == 0 &&
		s.Resources.Disk == 0 && s.Resources.GPU.Count == 0 && len(s.Resources.GPU.IDs) == 0
}

// setupKeys are of all that goes into each setup step.
func (m *Manager) setupKeys(ctx context.Context, rec record) ([]string, error) {
	generation := ""
	if rec.base().Host {
		if err := m.opt.Rootfs.Prepare(ctx); err != nil {
			return nil, noSpace(err)
		}
		generation = m.opt.Rootfs.Generation()
	}
	s := rec.effective()
	key := hashOf("setup-1", rec.Owner, rec.base(), generation, s.User, s.Workdir, s.Env, s.NoNewPrivileges, s.Network)
	keys := make([]string, len(s.Setup))
	for i, step := range s.Setup {
		key = hashOf(key, step)
		keys[i] = key
	}
	return keys, nil
}

// setupLayers does the setup steps of a sandbox that is being made each on what those
// before it made, or finds them done, and has it lie on that. Where one fails the
// sandbox is what it is without it, and the step fails once more in the sandbox,
// where it can be looked at. The caller calls release.
func (m *Manager) setupLayers(o *operation, secrets map[string]string) (release func(), err error) {
	b := o.b
	var releases []func()
	release = func() {
		for _, f := range releases {
			f()
		}
	}
	if !b.record().cacheable(secrets) {
		return release, nil
	}
	keys, err := m.setupKeys(o.ctx, b.record())
	if err != nil {
		return release, err
	}
	use := func(i int, layer string) {
		b.mu.Lock()
		defer b.mu.Unlock()
		if layer != "" {
			b.rec.Base = b.rec.base().With(layer)
		}
		b.rec.SetupSteps, b.rec.SetupDone = i+1, i+1 == len(keys)
	}
	done := 0
	for ; done < len(keys); done++ {
		layer, ok := m.builds.find(keys[done])
		if !ok {
			break
		}
		if layer != "" {
			pin, err := m.opt.Layers.Pin(layer)
			if err != nil {
				break
			}
			releases = append(releases, pin)
		}
		use(done, layer)
	}
	if done == len(keys) {
		return release, nil
	}
	b.mu.Lock()
	b.rec.Build = true // its own files begin with what the steps make
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		b.rec.Build = false
		b.mu.Unlock()
	}()
	o.enter(lifecycle.PendingBuild)
	if err := m.materialize(o); err != nil {
		return release, err
	}
	select {
	case m.building <- struct{}{}:
		defer func() { <-m.building }()
	case <-o.ctx.Done():
		return release, context.Cause(o.ctx)
	}
	o.enter(lifecycle.BuildingSnapshot)
	log, err := createSetupLog(filepath.Join(m.stateDir(b.id), setupFile), nil)
	if err != nil {
		return release, noSpace(fmt.Errorf("keep what the setup prints: %w", err))
	}
	defer func() { _ = log.close() }()
	x := &building{m: m, o: o, log: log}
	defer x.release()
	for ; done < len(keys); done++ {
		if err := o.point("setup"); err != nil {
			return release, err
		}
		rec := b.record()
		step := rec.Spec.Setup[done]
		before := log.head
		o.doing(fmt.Sprintf("setup %d/%d: %s", done+1, len(keys), headline(step)))
		log.note("setup step %d/%d: %s", done+1, len(keys), headline(step))
		failed := false
		err := x.inside(rec, func(client *guest.Client) error {
			exit, err := client.Run(o.ctx, guest.Request{Argv: []string{"/bin/sh", "-c", step}, Timeout: setupTimeout, Unlogged: true}, nil, log, log)
			failed = whySetupFailed(exit, err, log) != ""
			return nil
		})
		if o.ctx.Err() != nil {
			return release, context.Cause(o.ctx)
		}
		if err != nil {
			return release, err
		}
		if failed {
			log.rewind(before) // it prints it again where it can be looked at
			break
		}
		layer, err := x.take(keys[done])
		if err == nil {
			err = m.builds.add(keys[done], layer)
		}
		if err != nil {
			return release, noSpace(err)
		}
		use(done, layer)
	}
	releases = append(releases, x.releases...)
	x.releases = nil
	o.doing("")
	return release, m.afterSetup(o, done)
}

// afterSetup gives the sandbox the files that it begins with, over what the steps
// made; what one that failed has made is thrown away.
func (m *Manager) afterSetup(o *operation, done int) error {
	b := o.b
	b.mu.Lock()
	b.rec.Build = false
	b.mu.Unlock()
	rec := b.record()
	o.enter(lifecycle.Creating)
	dir := m.stateDir(rec.ID)
	if done < len(rec.Spec.Setup) {
		if err := m.opt.Rootfs.Settle(o.ctx, m.target(rec.ID)); err != nil {
			return err
		}
		grave, err := os.MkdirTemp(m.trashDir(), rec.ID+"-")
		if err != nil {
			return noSpace(err)
		}
		for _, d := range rootfs.Dirs() {
			if err := os.Rename(filepath.Join(dir, d), filepath.Join(grave, d)); err != nil && !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("throw away what a setup step made: %w", err)
			}
		}
		m.trash.add(grave)
	}
	top, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("make the sandbox's root: %w", err)
	}
	err = errors.Join(rootfs.Create(top, m.freshRoot(rec)), top.Close())
	if err != nil {
		return noSpace(fmt.Errorf("make the sandbox's root: %w", err))
	}
	// The layers are recorded before anything is made of them.
	return m.save(b, func(*record) {})
}
