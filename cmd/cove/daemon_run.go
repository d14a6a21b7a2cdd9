package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"cove/config"
	"cove/runtime/api"
	"cove/runtime/archive"
	"cove/runtime/cgroup"
	"cove/runtime/disk"
	"cove/runtime/doctor"
	"cove/runtime/gpu"
	"cove/runtime/image"
	"cove/runtime/lxcfs"
	"cove/runtime/mount"
	"cove/runtime/network"
	"cove/runtime/oci"
	"cove/runtime/rootfs"
	"cove/runtime/runner"
	"cove/runtime/sandbox"
	"cove/runtime/server"
	"cove/runtime/store"
	"cove/runtime/volume"
)

const (
	// closeGrace is what operations under way get when the daemon is asked to end.
	closeGrace = 20 * time.Second
	// idMaps is how many user namespaces for id-mapped mounts are kept at hand.
	idMaps = 256
)

// noCores keeps the memory of the daemon and of all sandboxes, which inherit the
// limit, out of core dumps: it holds keys that are in no file otherwise, and a
// handler of the host's (systemd-coredump, apport) would keep it outside of the
// sandbox, for it runs for theirs too. A limit of 1 stops also a handler, which a
// limit of 0 does not (fs/coredump.c).
func noCores() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Cur: 1, Max: 1}); err != nil {
		return fmt.Errorf("turn off core dumps: %w", err)
	}
	return nil
}

// runDaemon is the daemon of dirs: it returns nil when ctx ends, after it told
// flags.ready that the socket answers, and an error that wraps errDaemonBusy
// where another daemon holds the state directory.
func runDaemon(ctx context.Context, dirs config.Dirs, flags daemonFlags) (err error) {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	var given []func() error
	giveBack := func(f func() error) { given = append(given, f) }
	defer func() {
		for i := len(given) - 1; i >= 0; i-- {
			err = errors.Join(err, given[i]())
		}
	}()

	// A stray descriptor of whoever started us would reach runc, and with it
	// what it starts.
	if err := unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("keep inherited files to ourselves: %w", err)
	}
	if err := noCores(); err != nil {
		return err
	}
	if _, err := lockDir(dirs.State, 0o700, giveBack); err != nil {
		return fmt.Errorf("use the state directory: %w", err)
	}
	boot, err := store.BootID()
	if err != nil {
		return err
	}
	inst, err := store.Instance(ctx, dirs.State, store.LeaseDir, boot)
	if err != nil {
		return fmt.Errorf("use the state directory: %w", err)
	}
	runLock, err := lockDir(dirs.Run, 0o711, giveBack)
	if err != nil {
		return fmt.Errorf("use the run directory: %w", err)
	}
	if err := runLock.Claim(inst, boot); err != nil {
		return fmt.Errorf("use the run directory: %w", err)
	}

	settings, err := config.LoadSettings(config.SystemDir, "")
	if err != nil {
		return err
	}
	drivers, err := openDrivers(ctx, dirs, flags.machine, inst, boot, log, giveBack)
	if err != nil {
		return err
	}
	drivers.DiskReserve = int64(settings.Daemon.DiskReserve)
	manager, err := sandbox.Open(ctx, *drivers)
	if err != nil {
		return err
	}
	giveBack(func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeGrace)
		defer cancel()
		return manager.Close(ctx)
	})
	listener, err := server.Listen(dirs.Run)
	if err != nil {
		return err
	}
	giveBack(listener.Close)
	srv := server.New(server.Options{
		Manager: manager, Log: log,
		Status: api.DaemonStatus{
			Pid: os.Getpid(), Version: programVersion(), Socket: dirs.Socket(), StateDir: dirs.State, Inst: inst, Started: time.Now().UTC(),
		},
	})
	if err := flags.ready.ready(); err != nil {
		return fmt.Errorf("tell the starter: %w", err)
	}
	log.Info("the daemon answers", "socket", dirs.Socket(), "inst", inst, "sandboxes", manager.Len())
	return srv.Serve(ctx, listener)
}

// lockDir takes a directory for this daemon.
func lockDir(dir string, mode os.FileMode, giveBack func(func() error)) (*store.Lock, error) {
	lock, err := store.LockDir(dir, mode)
	if errors.Is(err, store.ErrLocked) {
		return nil, fmt.Errorf("%w: %w", errDaemonBusy, err)
	}
	if err != nil {
		return nil, err
	}
	giveBack(lock.Close)
	return lock, nil
}

// openDrivers finds out what this machine can do and opens what the Manager needs.
func openDrivers(ctx context.Context, dirs config.Dirs, machine *mount.Namespace, inst, boot string, log *slog.Logger, giveBack func(func() error)) (*sandbox.Options, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find the program itself: %w", err)
	}
	runc, err := runner.Find(ctx, self)
	if err != nil {
		return nil, err
	}
	initPath, err := findInit(self)
	if err != nil {
		return nil, err
	}
	groups, err := cgroup.Open(inst)
	if err != nil {
		return nil, err
	}
	if err := groups.Remember(filepath.Join(dirs.Run, "cgroup")); err != nil {
		return nil, err
	}
	if err := groups.Delegate(); err != nil {
		return nil, err
	}
	// Only where no sandbox is left in it; else the next daemon's end does it.
	giveBack(groups.RemoveTop)
	leases, err := store.OpenUIDLeases(store.LeaseDir, inst, dirs.State, boot)
	if err != nil {
		return nil, fmt.Errorf("use the machine's leases: %w", err)
	}
	maps := mount.NewIDMaps(idMaps)
	giveBack(maps.Close)
	disks, err := disk.New(disk.Options{StateDir: dirs.State, Inst: inst, Log: log})
	if err != nil {
		return nil, err
	}
	giveBack(disks.Close)
	layers, err := rootfs.OpenLayers(ctx, dirs.State, dirs.Run)
	if err != nil {
		return nil, err
	}
	images, err := image.Open(image.Options{StateDir: dirs.State, Layers: layers})
	if err != nil {
		return nil, err
	}
	giveBack(images.Close)
	roots, err := rootfs.New(ctx, rootfs.Options{StateDir: dirs.State, RunDir: dirs.Run, Disks: disks, Layers: layers, IDMaps: maps, Log: log})
	if err != nil {
		return nil, err
	}
	giveBack(roots.Close)
	volumesDir := filepath.Join(dirs.State, "volumes")
	volumeDisks, err := disk.New(disk.Options{StateDir: volumesDir, Dir: volumesDir, Inst: inst + "v", Log: log})
	if err != nil {
		return nil, err
	}
	giveBack(volumeDisks.Close)
	scratch := filepath.Join(dirs.Run, "volumes")
	if err := clearScratch(scratch); err != nil {
		return nil, err
	}
	volumes, err := volume.OpenStore(volume.StoreOptions{Dir: volumesDir, Scratch: scratch, Disks: volumeDisks, IDMaps: maps, Log: log})
	if err != nil {
		return nil, err
	}
	giveBack(volumes.Close)
	prepared := make(chan struct{})
	prepareCtx, cancel := context.WithCancel(ctx)
	giveBack(func() error { cancel(); <-prepared; return nil })
	go func() {
		defer close(prepared)
		// A create that comes earlier waits for it, and gets its error.
		if err := roots.Prepare(prepareCtx); err != nil && prepareCtx.Err() == nil {
			log.Warn("could not prepare the host image", "error", err)
		}
	}()
	host, err := oci.DetectHost()
	if err != nil {
		return nil, err
	}
	net, err := network.New(ctx, network.Options{
		Inst: inst, Boot: boot, StateDir: dirs.State, RunDir: dirs.Run, LeaseDir: store.LeaseDir, Holder: initPath, UIDs: leases, Log: log,
	})
	if err != nil {
		return nil, err
	}
	giveBack(net.Close)
	gpuDirs, err := config.CDIDirsFromEnv(os.Getenv)
	if err != nil {
		return nil, err
	}
	gpus := gpu.New(gpu.Options{Dirs: gpuDirs})
	giveBack(gpus.Close)
	opt := &sandbox.Options{
		StateDir: dirs.State, RunDir: dirs.Run, Inst: inst, BootID: boot, Log: log,
		Rootfs:  roots,
		Layers:  layers,
		Images:  images,
		Disks:   disks,
		Runner:  &runner.Runner{Binary: runc, Root: filepath.Join(dirs.Run, "runc")},
		Cgroups: groups,
		Limiter: groups,
		Meters:  groups.Meters(), CPUTimer: groups, Unwritten: groups, Archiver: archive.Files{},
		Leases:  leases,
		Network: net, NetworkCounter: net,
		Bundler:      bundler{init: initPath, host: host, lxcfs: lxcfs.New(), log: log},
		Volumes:      volume.New(volume.Options{Namespaces: []*mount.Namespace{machine}}),
		NamedVolumes: volumes,
		Warnings:     groups.Warnings(config.Resources{CPU: 1, Memory: 1, Pids: 1}),
		IODevice:     func() (cgroup.Device, error) { return cgroup.DeviceOf(dirs.State) },
		GPUs:         gpus,
		Probe:        prober(roots, disks, runc, groups, net, gpus, host),
		OnStage:      failpoint(),
	}
	if p := groups.Processors(); p != nil {
		opt.Processors = p
	}
	return opt, nil
}

// prober tries what this machine can do, for doctor.
func prober(roots *rootfs.Host, disks *disk.Driver, runc string, groups *cgroup.Tree, net *network.Driver, gpus *gpu.Driver, host oci.Host) func(context.Context) []doctor.Check {
	return func(ctx context.Context) []doctor.Check {
		var checks []doctor.Check
		add := func(name, detail string, err error) {
			if err != nil {
				detail = err.Error()
			}
			checks = append(checks, doctor.Check{Name: name, OK: err == nil, Detail: detail})
		}
		version, err := (&runner.Runner{Binary: runc}).Version(ctx)
		add("runc without known escapes", fmt.Sprintf("%s at %s", version, runc), err)
		for _, c := range roots.Probe(ctx) {
			checks = append(checks, doctor.Check(c))
		}
		for _, c := range disks.Probe(ctx) {
			checks = append(checks, doctor.Check(c))
		}
		for _, c := range net.Probe() {
			checks = append(checks, doctor.Check(c))
		}
		for _, c := range gpus.Probe(ctx) {
			checks = append(checks, doctor.Check(c))
		}
		where, err := groups.Describe()
		add("control groups", where, err)
		said := "free and /proc/meminfo tell the limits of the sandbox"
		if _, err = lxcfs.New().Files(ctx); errors.Is(err, lxcfs.ErrAbsent) {
			said, err = "not there: free and /proc/meminfo tell this machine's memory, not the limit", nil
		}
		add("lxcfs", said, err)
		profile := host.AppArmorProfile
		if profile == "" {
			profile = "no profile; seccomp and user namespaces confine alone"
		}
		add("AppArmor", profile, nil)
		return checks
	}
}

// bundler makes OCI bundles for one machine.
type bundler struct {
	lxcfs *lxcfs.Host
	log   *slog.Logger
	init  string
	host  oci.Host
}

// Write implements sandbox.Bundler.
func (b bundler) Write(dir string, in sandbox.BundleInput) error {
	// Without them it starts all the same, and sees the machine's.
	files, err := b.lxcfs.Files(context.Background())
	if err != nil && !errors.Is(err, lxcfs.ErrAbsent) {
		b.log.Warn("a sandbox sees the machine's memory in /proc", "sandbox", in.ID, "error", err)
	}
	spec, err := oci.Bundle(oci.Input{
		ID: in.ID, Hostname: in.Hostname, Spec: in.Spec, Rootfs: in.Rootfs, UIDBase: in.UIDBase, UserNS: in.UserNS, NetNS: in.NetNS,
		CgroupsPath: in.CgroupPath, InitPath: b.init, OnlineCPUs: in.OnlineCPUs, ProcFiles: files, Host: b.host,
		Devices: oci.Devices{
			Rules: in.Devices.Rules, Mounts: in.Devices.Mounts,
			CreateContainer: in.Devices.CreateContainer, StartContainer: in.Devices.StartContainer,
		},
	})
	if err != nil {
		return err
	}
	if err := oci.Write(dir, spec); err != nil || spec.Hooks == nil {
		return err
	}
	// Hooks run as the sandbox's root, and find the root in the bundle.
	config := filepath.Join(dir, oci.ConfigFile)
	if err := errors.Join(os.Lchown(config, 0, int(in.UIDBase)), os.Chmod(config, 0o640)); err != nil {
		return fmt.Errorf("let hooks read the bundle: %w", err)
	}
	return nil
}

// findInit finds cove-init beside the program or in ../libexec/cove, never on PATH.
func findInit(self string) (string, error) {
	dir := filepath.Dir(self)
	for _, path := range []string{filepath.Join(dir, "cove-init"), filepath.Join(dir, "..", "libexec", "cove", "cove-init")} {
		info, err := os.Stat(path)
		if err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o022 == 0 {
			return filepath.Clean(path), nil
		}
	}
	return "", fmt.Errorf("there is no cove-init beside %s or in ../libexec/cove (make install puts it there)", self)
}

// failpoint lets the tests kill the daemon at one stage of one operation:
// COVE_FAILPOINT is "create.named", say.
func failpoint() func(op, stage string) {
	at := os.Getenv("COVE_FAILPOINT")
	if at == "" {
		return nil
	}
	return func(op, stage string) {
		if op+"."+stage == at {
			p, err := os.FindProcess(os.Getpid())
			if err == nil {
				_ = p.Kill()
			}
			select {} // not a step further
		}
	}
}

// clearScratch makes the directory for mounts of a moment. Those of a killed daemon
// ended with its mount namespace.
func clearScratch(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make %s: %w", dir, err)
	}
	left, err := os.ReadDir(dir)
	for _, e := range left {
		err = errors.Join(err, os.Remove(filepath.Join(dir, e.Name())))
	}
	return err
}
