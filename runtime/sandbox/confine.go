package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"cove/config"
	"cove/runtime/cgroup"
)

// onlineFile is what a sandbox sees in the place of
// /sys/devices/system/cpu/online: the C library counts processors there.
const onlineFile = "cpus"

// place chooses the processors of a sandbox that is about to start. Where that
// fails it runs on all of them, and is held to its limit all the same.
func (m *Manager) place(rec record) {
	if m.opt.Processors == nil || rec.Spec.Resources.AllCPUs {
		return
	}
	if err := m.opt.Processors.Place(rec.ID, rec.Spec.Resources.CPU); err != nil {
		m.log.Warn("could not spread the sandboxes over the processors", "sandbox", rec.ID, "error", err)
	}
}

// confine puts in force what the OCI runtime does not: it comes between the
// making of the container and its first instruction.
func (m *Manager) confine(rec record) error {
	if m.opt.Processors != nil {
		if err := m.opt.Processors.Put(rec.ID); err != nil {
			return fmt.Errorf("give it its processors (resources.all_cpus = true does without): %w", err)
		}
	}
	r := rec.Spec.Resources
	if r.IORead == 0 && r.IOWrite == 0 {
		return nil
	}
	device, err := m.ioDevice(rec)
	if err != nil {
		return notLimited(r, err, noDevice)
	}
	return notLimited(r, m.opt.Cgroups.SetIO(rec.ID, device, r.IORead, r.IOWrite), "this host gives cove no io controller")
}

// leave says that a sandbox runs on no processor any more.
func (m *Manager) leave(id string) {
	if m.opt.Processors == nil {
		return
	}
	if err := m.opt.Processors.Leave(id); err != nil {
		m.log.Warn("could not spread the sandboxes over the processors", "error", err)
	}
}

// adoptProcessors says which sandboxes run, and with how many cores.
func (m *Manager) adoptProcessors(all []*found) {
	if m.opt.Processors == nil {
		return
	}
	running := map[string]float64{}
	for _, f := range all {
		if r := f.b.rec.Spec.Resources; f.live && !r.AllCPUs && !f.b.rec.Created.IsZero() { // one that could be read
			running[f.b.id] = r.CPU
		}
	}
	if err := m.opt.Processors.Adopt(running, m.moved); err != nil {
		m.log.Error("could not take over the processors of the sandboxes that run", "error", err)
	}
}

// moved shows a sandbox the processors that it has now.
func (m *Manager) moved(id, list string) {
	path := filepath.Join(m.runDir(id), onlineFile)
	// In place: the sandbox has this file mounted.
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o644)
	if errors.Is(err, fs.ErrNotExist) {
		return // it has ended
	}
	if err == nil {
		_, err = f.WriteAt([]byte(list+"\n"), 0)
		err = errors.Join(err, f.Truncate(int64(len(list)+1)), f.Chmod(0o644), f.Close())
	}
	if err != nil {
		m.log.Warn("could not show a sandbox its processors", "sandbox", id, "error", err)
	}
}

// onlineCPUs is the file that moved has written, "" where there is none.
func (m *Manager) onlineCPUs(id string) string {
	path := filepath.Join(m.runDir(id), onlineFile)
	if _, err := os.Lstat(path); err != nil {
		return ""
	}
	return path
}

// ioDevice is the device on which the sandbox's own files are. A disk of its own
// must be open.
func (m *Manager) ioDevice(rec record) (cgroup.Device, error) {
	if rec.Spec.Resources.Disk > 0 {
		d, err := m.opt.Disks.Device(rec.ID)
		return cgroup.Device{Major: d.Major, Minor: d.Minor}, err
	}
	if m.opt.IODevice == nil {
		return cgroup.Device{}, cgroup.ErrUnavailable
	}
	return m.opt.IODevice()
}

// checkIO refuses limits of a device that there is none of, before anything is
// made.
func (m *Manager) checkIO(rec record) error {
	r := rec.Spec.Resources
	if r.IORead == 0 && r.IOWrite == 0 || r.Disk > 0 {
		return nil
	}
	_, err := m.ioDevice(rec)
	return notLimited(r, err, noDevice)
}

const noDevice = "the file system of the state directory is on no single block device"

// notLimited says why the speed of the disk cannot be limited as asked, where err
// is that the host cannot.
func notLimited(r config.Resources, err error, why string) error {
	if !errors.Is(err, cgroup.ErrUnavailable) {
		return err
	}
	key := "resources.io_read"
	if r.IORead == 0 {
		key = "resources.io_write"
	}
	return &InvalidError{Unsupported: true, Problems: []config.Problem{{
		Key: key, Message: "this machine cannot limit it: " + why, Hint: `set it to "0"`,
	}}}
}
