package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"cove/config"
	"cove/runtime/gpu"
	"cove/runtime/lifecycle"
	"cove/runtime/rootfs"
	"cove/runtime/store"
	"cove/runtime/volume"
)

const (
	recordVersion = 1
	recordFile    = "sandbox.json"
	runningFile   = "running.json"
	oplogFile     = "oplog"
	setupFile     = "setup.log"
	socketFile    = "guest.sock"
	maxRecord     = 4 << 20
)

// record is sandbox.json: the truth about one sandbox that survives a reboot.
type record struct {
	Version int         `json:"version"`
	ID      string      `json:"id"`
	Name    string      `json:"name"`
	Owner   int         `json:"owner"`
	Spec    config.Spec `json:"spec"`
	// Base is what its root is made of below its own changes; zero of those that
	// were made before there was any but the host image.
	Base rootfs.Base `json:"base,omitzero"`
	// Config is what the image says of programs; ImageID is the image's id and
	// Snapshot the snapshot's, where it was made of one.
	Config   config.ImageConfig `json:"config,omitzero"`
	ImageID  string             `json:"image_id,omitempty"`
	Snapshot string             `json:"snapshot,omitempty"`
	// Build says that it is there to build a snapshot.
	Build bool `json:"build,omitempty"`
	// Pending is a layer that its changes are becoming: see finishCommit.
	Pending string `json:"pending,omitempty"`
	// Dirs are the directories of the Spec's mounts, in their order.
	Dirs    []volume.Identity `json:"dirs,omitempty"`
	Desired lifecycle.State   `json:"desired"`
	// Rest is the state it is in when nothing of it runs.
	Rest    lifecycle.State  `json:"rest"`
	Reason  lifecycle.Reason `json:"reason"`
	Created time.Time        `json:"created"`
	Started time.Time        `json:"started,omitzero"`
	Stopped time.Time        `json:"stopped,omitzero"`
	// Deleted is when it was put into the trash to be brought back from there; of
	// one that is not there it says nothing.
	Deleted time.Time `json:"deleted,omitzero"`
	// Touched is when somebody said that it is still wanted.
	Touched time.Time `json:"touched,omitzero"`
	// Hostname is the name that the sandbox's own files have for it: the one
	// it had when it last started.
	Hostname string `json:"hostname,omitempty"`
	// SetupDone says that the profile's setup steps have all succeeded;
	// until then SetupSteps is how many have.
	SetupDone  bool `json:"setup_done,omitempty"`
	SetupSteps int  `json:"setup_steps,omitempty"`
	// GPUs are those that it had when it last started, by UUID or CDI name.
	GPUs []string `json:"gpus,omitempty"`
}

// base is what the sandbox's root is made of.
func (r record) base() rootfs.Base {
	if r.Base.IsZero() {
		return rootfs.HostBase()
	}
	return r.Base
}

// phase is how far a launch has come, for the daemon after a killed one.
type phase string

const (
	phaseLaunching phase = "launching" // resources are being taken
	phaseStarted   phase = "started"   // PID 1 has answered and knows what it is
)

// running is running.json, on a tmpfs: what exists only while it runs.
type running struct {
	Boot      string    `json:"boot"`
	Phase     phase     `json:"phase"`
	Pid       int       `json:"pid,omitempty"`
	StartTime uint64    `json:"starttime,omitempty"` // clock ticks since boot; with Pid names one process for ever
	UIDBase   uint32    `json:"uid_base"`
	Cgroup    string    `json:"cgroup"`
	Started   time.Time `json:"started,omitzero"`
	Warnings  []string  `json:"warnings,omitempty"`
	// GPUs are the devices that it holds.
	GPUs []gpu.Claim `json:"gpus,omitempty"`
	// Held says why the guard has frozen it, or is about to.
	Held string `json:"held,omitempty"`
}

func readRecord(dir, id string) (record, error) {
	var r record
	if err := store.ReadJSON(filepath.Join(dir, recordFile), maxRecord, &r); err != nil {
		return record{}, err
	}
	switch {
	case r.Version != recordVersion:
		return record{}, fmt.Errorf("%s has version %d, this cove knows %d", recordFile, r.Version, recordVersion)
	case r.ID != id:
		return record{}, fmt.Errorf("%s names another sandbox, %q", recordFile, r.ID)
	case config.ValidName(r.Name) != nil:
		return record{}, fmt.Errorf("%s has the invalid name %q", recordFile, r.Name)
	case r.Rest != lifecycle.Stopped && r.Rest != lifecycle.Error && r.Rest != lifecycle.Creating && r.Rest != lifecycle.Archived && r.Rest != lifecycle.BuildFailed:
		return record{}, fmt.Errorf("%s has the state %q", recordFile, r.Rest)
	}
	return r, nil
}

func writeRecord(dir string, r record, sync bool) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", recordFile, err)
	}
	return store.Replace(dir, recordFile, append(data, '\n'), sync)
}

// save changes the record in memory and then on disk, where it outlives a power
// cut.
func (m *Manager) save(b *box, change func(*record)) error {
	b.file.Lock()
	defer b.file.Unlock()
	b.mu.Lock()
	change(&b.rec)
	rec := b.rec
	b.mu.Unlock()
	return writeRecord(m.stateDir(b.id), rec, true)
}

// readRunning returns nil without an error when the sandbox does not run.
func readRunning(dir string) (*running, error) {
	var r running
	err := store.ReadJSON(filepath.Join(dir, runningFile), maxRecord, &r)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &r, nil
}

func writeRunning(dir string, r running) error {
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode %s: %w", runningFile, err)
	}
	return store.Replace(dir, runningFile, append(data, '\n'), false)
}
