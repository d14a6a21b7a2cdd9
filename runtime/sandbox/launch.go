package sandbox

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"cove/runtime/gpu"
	"cove/runtime/guest"
	"cove/runtime/mount"
	"cove/runtime/network"
	"cove/runtime/runner"
	"cove/runtime/volume"
)

const (
	// guestTimeout bounds each answer of PID 1. It only has to start and to
	// read one request; a loaded machine may take a second over it.
	guestTimeout = 10 * time.Second
	// releaseTimeout bounds what the kernel may take to end all processes.
	releaseTimeout = 10 * time.Second
)

// launch brings a stopped sandbox's processes into being: when it returns nil
// PID 1 runs, is watched, and knows who it is. On failure all that was taken
// is given back. set is the directories of the mounts where the caller has
// brought them along, and stays the caller's; else they are opened again.
func (m *Manager) launch(o *operation, secrets map[string]string, set *volume.Set) error {
	if err := m.finishCommit(o.ctx, o.b); err != nil {
		return err
	}
	return m.launchAs(o, o.b.record(), secrets, set)
}

// launchAs is launch of what the record says, which need not be the sandbox's.
func (m *Manager) launchAs(o *operation, rec record, secrets map[string]string, set *volume.Set) (err error) {
	b := o.b
	rec.Spec = rec.effective()
	if err := m.checkIO(rec); err != nil {
		return err
	}
	var undo undo
	defer func() {
		if err != nil {
			undo.run()
		}
	}()
	run := running{Boot: m.opt.BootID, Phase: phaseLaunching, Cgroup: m.opt.Cgroups.OCIPath(b.id), Warnings: m.opt.Cgroups.Warnings(rec.Spec.Resources)}
	devices, claims, err := m.takeGPUs(o.ctx, rec)
	if err != nil {
		return err
	}
	run.GPUs = claims
	undo.push(func() {
		if run.UIDBase == 0 { // else it is the release's, which knows whether it is free
			m.gpus.give(b.id)
		}
	})
	ns, err := m.opt.Network.Take(o.ctx, b.id)
	if err != nil {
		return err
	}
	defer func() { _ = ns.Close() }()
	run.UIDBase = ns.UIDBase
	// From here on release undoes all of it: it takes what it finds.
	undo.push(func() { m.release(b, run.UIDBase) })
	if err := writeRunning(m.runDir(b.id), run); err != nil {
		return noSpace(fmt.Errorf("record the launch: %w", err))
	}
	if err := o.point("leased"); err != nil {
		return err
	}
	if err := m.openDisk(o, rec); err != nil {
		return err
	}
	o.stage("opened")

	m.place(rec)
	edits, err := m.prepareGPUs(b.id, run.UIDBase, devices)
	if err != nil {
		return err
	}
	listener, err := m.prepare(o, rec, run, ns, set, edits)
	if err != nil {
		return err
	}
	defer listener.Close()
	if err := o.point("prepared"); err != nil {
		return err
	}
	pid, err := m.opt.Runner.Create(o.ctx, b.id, m.bundleDir(b.id), listener)
	if err != nil {
		return fmt.Errorf("create the container: %w", err)
	}
	if err := runner.AssertUserNS(pid, run.UIDBase); err != nil {
		return fmt.Errorf("refuse to start: %w", err)
	}
	// The sandbox's are the only ones now: when PID 1 ends, so does the wait
	// for its answer.
	_ = listener.Close()
	proc, err := runner.Watch(pid, 0)
	if err != nil {
		return fmt.Errorf("watch PID 1: %w", err)
	}
	run.Pid, run.StartTime = pid, proc.StartTime()
	m.observe(b, proc)()
	if err := errors.Join(
		m.opt.Leases.Own(run.UIDBase, run.Pid, run.StartTime),
		writeRunning(m.runDir(b.id), run),
	); err != nil {
		return noSpace(fmt.Errorf("record the container: %w", err))
	}
	if err := m.confine(rec); err != nil {
		return err
	}
	if err := o.point("created"); err != nil {
		return err
	}
	if err := m.attachVolumes(o.ctx, rec, run); err != nil {
		return err
	}
	if err := m.opt.Runner.Start(o.ctx, b.id); err != nil {
		return fmt.Errorf("start the container: %w", err)
	}
	if err := o.point("running"); err != nil {
		return err
	}
	if err := m.configure(o.ctx, rec, secrets, edits.Env); err != nil {
		return err
	}
	if err := m.opt.Rootfs.Detach(m.target(b.id)); err != nil {
		return fmt.Errorf("let go of the root: %w", err)
	}
	if err := m.detachGPUs(b.id); err != nil {
		return fmt.Errorf("let go of the device nodes: %w", err)
	}
	run.Phase, run.Started = phaseStarted, m.now().UTC()
	if err := writeRunning(m.runDir(b.id), run); err != nil {
		return noSpace(fmt.Errorf("record the start: %w", err))
	}
	o.stage("configured")
	b.mu.Lock()
	b.run, b.ooms, b.killed, b.told, b.frozen, b.held = &run, 0, 0, 0, false, ""
	b.idle = idleness{since: m.clock().Awake}
	b.rec.Hostname = rec.Name // written with the start
	b.mu.Unlock()
	m.guard.poke()
	return nil
}

// prepare mounts the root, connects the network, writes the bundle and opens the
// guest's socket, side by side. The caller closes the listener.
func (m *Manager) prepare(o *operation, rec record, run running, ns network.Namespaces, set *volume.Set, devices gpu.Edits) (listener *os.File, err error) {
	id := rec.ID
	if err := makeRunDir(m.bundleDir(id)); err != nil {
		return nil, err
	}
	var g errgroup.Group
	g.Go(func() error {
		if rec.base().Host && !m.opt.Rootfs.Ready() {
			o.doing("preparing this machine's image, once")
			defer o.doing("")
		}
		return m.mountRoot(o.ctx, rec, run.UIDBase, set)
	})
	// Its rules are in force before anything runs inside.
	g.Go(func() error {
		if err := m.opt.Network.Connect(o.ctx, id, ns.Net, network.PolicyOf(rec.Spec.Network)); err != nil {
			return fmt.Errorf("connect the network (cove doctor tries what it needs; --block-all does without): %w", err)
		}
		return nil
	})
	g.Go(func() (err error) {
		if err := m.opt.Cgroups.Make(id); err != nil {
			return err
		}
		err = m.opt.Bundler.Write(m.bundleDir(id), BundleInput{
			ID: id, Hostname: rec.Name, Spec: rec.Spec, Rootfs: m.target(id), UIDBase: run.UIDBase, CgroupPath: run.Cgroup, Devices: devices,
			OnlineCPUs: m.onlineCPUs(id),
			// This process is there for as long as the runtime needs the paths.
			UserNS: fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), ns.User.Fd()),
			NetNS:  fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), ns.Net.Fd()),
		})
		if err != nil {
			return noSpace(fmt.Errorf("write the bundle: %w", err))
		}
		listener, err = listenGuest(m.runDir(id))
		return err
	})
	if err := g.Wait(); err != nil {
		if listener != nil {
			_ = listener.Close()
		}
		return nil, err
	}
	return listener, nil
}

// mountRoot mounts the root and, in it, the directories of the host.
func (m *Manager) mountRoot(ctx context.Context, rec record, base uint32, set *volume.Set) (err error) {
	var g errgroup.Group
	g.Go(func() error {
		if err := m.opt.Rootfs.Mount(ctx, m.stateDir(rec.ID), m.target(rec.ID), base, rec.base()); err != nil {
			return noSpace(fmt.Errorf("mount the root: %w", err))
		}
		return nil
	})
	if set == nil && len(rec.Spec.Mounts) > 0 {
		g.Go(func() (err error) {
			set, err = m.reopen(ctx, rec)
			return err
		})
		defer func() { err = errors.Join(err, set.Close()) }()
	}
	if err := g.Wait(); err != nil {
		return err
	}
	set.Stack(func(lower *mount.Tree, index int) (*mount.Merged, error) {
		merged, err := m.opt.Rootfs.MountCow(ctx, m.stateDir(rec.ID), m.target(rec.ID), base, lower, cowKey(index))
		return merged, noSpace(err)
	})
	return set.Attach(ctx, m.target(rec.ID), base, rec.Spec.User)
}

// reopen opens the directories of the mounts again, as the sandbox's owner; nil
// where there are none.
func (m *Manager) reopen(ctx context.Context, rec record) (*volume.Set, error) {
	return m.opt.Volumes.Reopen(ctx, rec.Owner, rec.Spec.Mounts, rec.Dirs)
}

// listenGuest makes the socket on which PID 1 will answer. It is bound beneath
// the directory's descriptor because paths of sockets end at 108 bytes
// (unix(7)), and only root may connect.
func listenGuest(dir string) (*os.File, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("open the run directory: %w", err)
	}
	defer d.Close()
	if err := unix.Unlinkat(int(d.Fd()), socketFile, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return nil, fmt.Errorf("remove the old socket: %w", err)
	}
	path := fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), socketFile)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, noSpace(fmt.Errorf("make the guest's socket: %w", err))
	}
	defer l.Close()
	l.SetUnlinkOnClose(false)
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, fmt.Errorf("close the guest's socket to others: %w", err)
	}
	f, err := l.File()
	if err != nil {
		return nil, fmt.Errorf("hand over the guest's socket: %w", err)
	}
	return f, nil
}

// configure tells PID 1 who it is; its answer says that the sandbox works. Of the
// variables, those of devices come first: the profile's are over them.
func (m *Manager) configure(ctx context.Context, rec record, secrets map[string]string, devices []string) error {
	ctx, cancel := context.WithTimeout(ctx, guestTimeout)
	defer cancel()
	env := map[string]string{}
	for _, kv := range devices {
		k, v, _ := strings.Cut(kv, "=")
		env[k] = v
	}
	env["COVE_SANDBOX"] = rec.Name
	for k, v := range rec.Spec.Env {
		if v.From == "" {
			env[k] = v.Value
		}
	}
	maps.Copy(env, secrets)
	r := guest.Request{
		Hostname: rec.Name, Env: env, Dir: rec.Spec.Workdir, User: rec.Spec.User, Shell: rec.Spec.Shell,
		Lenient: !rec.Started.IsZero(),
	}
	if rec.Hostname != rec.Name {
		r.Formerly = rec.Hostname
	}
	err := m.client(rec.ID).Configure(ctx, r)
	if err != nil {
		return fmt.Errorf("configure PID 1: %w", err)
	}
	return nil
}

func (m *Manager) client(id string) *guest.Client {
	return guest.NewClient(filepath.Join(m.runDir(id), socketFile))
}

// release gives back everything that a launch took, whatever part of it there
// is, except the run directory itself. Errors are logged: there is nobody who
// could do anything about them, and the next start or audit tries again.
func (m *Manager) release(b *box, base uint32) {
	// Not the operation's context: what was taken is given back also when
	// the operation was cancelled.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(m.ctx), releaseTimeout)
	defer cancel()
	b.mu.Lock()
	proc, w := b.proc, b.watch
	b.ending = true
	b.mu.Unlock()
	if proc != nil {
		// The kernel ends the whole pid namespace with its PID 1, which in
		// some freezers takes the signal only when it is thawed.
		_ = proc.Kill()
		_ = m.thawToEnd(ctx, b)
		// Nor does one end that waits for a slow disk.
		_ = m.opt.Cgroups.LiftIO(b.id)
		select {
		case <-w.exited:
		case <-ctx.Done():
		}
	}
	warn := func(what string, err error) {
		if err != nil {
			m.log.Warn("could not give back", "sandbox", b.id, "what", what, "error", err)
		}
	}
	alive := m.opt.Cgroups.Kill(ctx, b.id)
	warn("processes", alive)
	if proc == nil {
		warn("what is left of PID 1", runner.Reap())
	}
	var g errgroup.Group
	g.Go(func() error { warn("container", m.opt.Runner.Forget(b.id)); return nil })
	g.Go(func() error { warn("root", m.opt.Rootfs.Unmount(m.stateDir(b.id), m.target(b.id))); return nil })
	g.Go(func() error { warn("device nodes", m.detachGPUs(b.id)); return nil })
	g.Go(func() error { warn("network", m.opt.Network.Disconnect(b.id)); return nil })
	_ = g.Wait()
	warn("cgroup", m.opt.Cgroups.Remove(ctx, b.id))
	m.leave(b.id)
	for _, name := range []string{socketFile, runningFile, onlineFile} {
		if err := os.Remove(filepath.Join(m.runDir(b.id), name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			warn(name, err)
		}
	}
	warn("bundle", os.RemoveAll(m.bundleDir(b.id)))
	// What waits in the kernel cannot be killed and still has these ids, which
	// no other sandbox may get then: the audit tells of the lease.
	if alive == nil {
		m.gpus.give(b.id)
	}
	if base != 0 && alive == nil {
		warn("lease", m.opt.Leases.Release(base))
	}
	b.mu.Lock()
	if b.watch != nil {
		b.watch.cancel()
	}
	if b.proc != nil {
		_ = b.proc.Close()
	}
	b.proc, b.watch, b.run, b.frozen, b.held, b.ending, b.evicted = nil, nil, nil, false, "", false, false
	b.mu.Unlock()
	// Only now: of two that end at once, the later one finds nobody else.
	m.letGoVolumes(b)
}
