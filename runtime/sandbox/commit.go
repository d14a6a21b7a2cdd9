package sandbox

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"

	"cove/runtime/rootfs"
)

// newLayer makes up the name of a layer whose content nothing else names.
func newLayer() (string, error) {
	var raw [12]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return "", fmt.Errorf("make a name: %w", err)
	}
	return "state-" + hex.EncodeToString(raw[:]), nil
}

// keepState makes a layer of all that a sandbox has changed, which does not run and has
// no disk, and gives its base, which has that layer on top now: the sandbox is as
// before, and the base never changes. The caller calls release when it has recorded
// the base, or has done with it.
//
// The record says first that the base has the layer, and that it is being made; then
// the layer is made by a rename, and a daemon that was killed in between finds in
// the record what to do.
func (m *Manager) keepState(o *operation) (base rootfs.Base, release func(), err error) {
	b := o.b
	if taking := b.record().Taking; taking != "" {
		if err := m.finishTaking(o); err != nil {
			return rootfs.Base{}, nil, err
		}
	}
	layer, err := newLayer()
	if err != nil {
		return rootfs.Base{}, nil, err
	}
	was := b.record()
	if err := m.save(b, func(r *record) { r.Base, r.Taking = r.base().With(layer), layer }); err != nil {
		b.mu.Lock()
		b.rec.Base, b.rec.Taking = was.Base, was.Taking
		b.mu.Unlock()
		return rootfs.Base{}, nil, noSpace(fmt.Errorf("record the sandbox's state: %w", err))
	}
	o.stage("taking")
	if err := m.finishTaking(o); err != nil {
		return rootfs.Base{}, nil, err
	}
	base = b.record().Base
	if release, err = m.opt.Layers.Pin(base.Layers...); err != nil {
		return rootfs.Base{}, nil, fmt.Errorf("keep the sandbox's state: %w", err)
	}
	return base, release, nil
}

// finishTaking carries out what the record says is being done.
func (m *Manager) finishTaking(o *operation) error {
	b := o.b
	rec := b.record()
	if rec.Taking == "" {
		return nil
	}
	if err := m.opt.Rootfs.Commit(o.ctx, m.stateDir(b.id), m.target(b.id), rec.Taking); err != nil {
		return noSpace(err)
	}
	o.stage("taken")
	// Not synced: to be done again would change nothing.
	b.file.Lock()
	defer b.file.Unlock()
	b.mu.Lock()
	b.rec.Taking = ""
	rec = b.rec
	b.mu.Unlock()
	return noSpace(writeRecord(m.stateDir(b.id), rec, false))
}

// settleTaking finishes what a killed daemon left half done of a sandbox that does
// not run; what fails is tried again before anything else is done with its files.
func (m *Manager) settleTaking(b *box) {
	if err := m.finishTaking(&operation{m: m, b: b, ctx: m.ctx}); err != nil {
		m.log.Warn("could not finish keeping a sandbox's state", "sandbox", b.id, "error", err)
	}
}
