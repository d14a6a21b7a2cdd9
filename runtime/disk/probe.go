package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"cove/runtime/mount"
)

// Check is one thing that was tried, for people to read.
type Check struct {
	Name   string
	OK     bool
	Detail string // what was found, or why not
}

// probeSize is the size of the disk that is tried, probeGrown what it grows to.
const (
	probeSize  = 16 * mib
	probeGrown = 24 * mib
)

// Probe tells, for people, what this machine can do with disks, by making one, filling
// a bit of it and growing it. It leaves nothing behind.
func (d *Driver) Probe(ctx context.Context) []Check {
	for _, name := range []string{mke2fs, e2fsck, resize2fs} {
		if _, err := tool(name); err != nil {
			return []Check{{Name: "disk quotas", Detail: err.Error()}}
		}
	}
	checks, err := d.probe(ctx)
	if err != nil {
		checks = append(checks, Check{Name: "disk quotas", Detail: err.Error()})
	}
	return checks
}

func (d *Driver) probe(ctx context.Context) (checks []Check, err error) {
	dir, err := os.MkdirTemp(d.templates, tmpPrefix)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	image, err := d.makeImage(ctx, filepath.Join(dir, ImageFile), Spec{Size: probeSize})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, image.Close()) }()
	dev, direct, err := attach(ctx, image, d.prefix+filepath.Base(dir), false)
	if err != nil {
		return nil, err
	}
	h, err := mountLoop(dev, image, Spec{Size: probeSize})
	if err = errors.Join(err, dev.Close()); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, h.root.Close()) }()
	f, err := mount.OpenWithin(h.root, "file", unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	_, err = f.Write(make([]byte, blockSize))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return nil, fmt.Errorf("write to a disk: %w", err)
	}
	how := "ext4 on a loop device with direct I/O"
	if !direct {
		how = "ext4 on a loop device without direct I/O: the host's file system has none, and what is read is kept in memory twice"
	}
	checks = append(checks, Check{Name: "disk quotas", OK: true, Detail: how})
	grow := Check{Name: "disks that grow", OK: true, Detail: "while the sandbox runs"}
	switch err := d.grow(h, Spec{Size: probeGrown}); {
	case errors.Is(err, ErrOffline):
		grow.Detail = "only of stopped sandboxes: the kernel wants CAP_SYS_RESOURCE for those that run"
	case err != nil:
		grow.OK, grow.Detail = false, err.Error()
	}
	return append(checks, grow), nil
}
