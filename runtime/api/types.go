// Package api is the daemon's HTTP interface as Go: the wire types, the error
// codes and the client. The command line and the TUI have no other way in.
//
// The paths, below /v1 on the daemon's unix socket; {ref} is a name, an id or an
// unambiguous prefix of an id:
//
//	GET    /version                   DaemonStatus
//	GET    /sandboxes                 []Sandbox; query label=KEY=VALUE, label=KEY, state=STATE
//	POST   /sandboxes                 CreateRequest -> 201 Sandbox
//	GET    /sandboxes/{ref}           Detail
//	DELETE /sandboxes/{ref}           Sandbox as it last was; query now=1
//	POST   /sandboxes/{ref}/start     StartRequest -> Sandbox
//	POST   /sandboxes/{ref}/stop      StopRequest -> Sandbox
//	POST   /sandboxes/{ref}/restart   StartRequest -> Sandbox
//	POST   /sandboxes/{ref}/pause     Sandbox
//	POST   /sandboxes/{ref}/resume    Sandbox
//	POST   /sandboxes/{ref}/archive   ArchiveRequest -> Sandbox
//	POST   /sandboxes/{ref}/rename    RenameRequest -> Sandbox
//	POST   /sandboxes/{ref}/labels    LabelsRequest -> Sandbox
//	GET    /sandboxes/{ref}/sessions  []Session
//	POST   /sandboxes/{ref}/exec      ExecRequest, upgraded to a stream of frames
//	GET    /sandboxes/{ref}/logs      LogLine, one a line; query follow=1
//	POST   /sandboxes/{ref}/code      CodeRequest, upgraded to a stream of frames
//	POST   /sandboxes/{ref}/files     FilesRequest, upgraded to a stream of frames
//	POST   /sandboxes/{ref}/attach    AttachRequest, upgraded to a stream of frames
//	POST   /sandboxes/{ref}/resize    ResizeRequest -> Sandbox
//	POST   /sandboxes/{ref}/automation AutomationRequest -> Sandbox
//	POST   /sandboxes/{ref}/touch     Sandbox
//	GET    /sandboxes/{ref}/history   History; query since=DURATION
//	GET    /deleted                   []Deleted
//	POST   /undo                      UndoRequest -> Sandbox
//	POST   /sandboxes/{ref}/snapshot  SnapshotRequest -> 201 Snapshot
//	POST   /sandboxes/{ref}/fork      ForkRequest -> 201 ForkResult
//	GET    /snapshots                 []Snapshot
//	POST   /sandboxes/{ref}/export    upgraded to a stream of frames
//	POST   /import                    MoveRequest, upgraded to a stream of frames
//	POST   /snapshots/build           BuildRequest, upgraded to a stream of frames
//	POST   /sandboxes/{ref}/rebuild   upgraded to a stream of frames
//	POST   /snapshots/rm              SnapshotRef -> Snapshot as it was
//	GET    /volumes                   []Volume
//	POST   /volumes                   VolumeRequest -> 201 Volume
//	POST   /volumes/rm                VolumeRef -> Volume as it was
//	POST   /sandboxes/{ref}/volumes   AttachVolumeRequest -> Sandbox
//	POST   /sandboxes/{ref}/volumes/detach DetachVolumeRequest -> Sandbox
//	GET    /images                    []Image
//	POST   /images/pull               PullRequest -> Progress, one a line
//	POST   /images/import             ImportRequest, upgraded to a stream of frames
//	POST   /images/export             ExportRequest, upgraded to a stream of frames
//	POST   /images/rm                 ImageRequest -> Image
//	POST   /images/prune              PruneReport
//	GET    /gpus                      []GPU
//	GET    /events                    Event, one a line; query since=EPOCH:SEQ, follow=0
//	GET    /stats                     StatsReport; query follow=1: one a line and second
//	GET    /checks                    []Check
//	GET    /leaks                     []Leak; root only
//
// The open directories of the mounts of a new sandbox, or of forks, travel beside the request
// (SCM_RIGHTS, unix(7)), which has to be the first of its connection; no other
// request takes any.
//
// Bodies are JSON of at most MaxBody bytes; an unknown field or query parameter
// is refused. Every error is an Error, but for a request that is not HTTP.
package api

import (
	"os"
	"time"

	"cove/config"
	"cove/runtime/lifecycle"
)

// Version of the HTTP interface, the first element of every path.
const Version = "v1"

// StreamProtocol is the Upgrade token of exec and attach: after the 101 the
// connection carries frames (package frame) in both directions.
const StreamProtocol = "cove-stream/1"

// SocketName is the name of the daemon's socket in its run directory.
const SocketName = "cove.sock"

// MaxBody is the size in bytes that the JSON of a request may have.
const MaxBody = 1 << 20

// Sandbox is one sandbox as clients see it.
type Sandbox struct {
	ID      string              `json:"id"`
	Name    string              `json:"name"`
	State   lifecycle.State     `json:"state"`
	Desired lifecycle.State     `json:"desired"`
	Reason  *lifecycle.Reason   `json:"reason,omitempty"`
	Op      lifecycle.Operation `json:"op,omitempty"` // the operation under way
	// Progress is what the operation is at, in a few words, where it takes its
	// time: "setup 2/3: pip install ruff".
	Progress string            `json:"progress,omitempty"`
	Owner    int               `json:"owner"` // uid
	Profile  string            `json:"profile,omitempty"`
	Image    string            `json:"image"`
	Labels   map[string]string `json:"labels,omitempty"`
	Created  time.Time         `json:"created"`
	Started  *time.Time        `json:"started,omitempty"`
	Stopped  *time.Time        `json:"stopped,omitempty"`
	// GPUs are the devices that it holds, by their CDI names; only while it runs.
	GPUs []string `json:"gpus,omitempty"`
	// Due is what its automation does to it next, as it was when this was
	// sent; statistics have what is true now.
	Due *Due `json:"due,omitempty"`
	// Held says why its processes are frozen though it is started, in words:
	// the host's disk is nearly full, say. It is empty when they are not.
	Held string `json:"held,omitempty"`
	// Warnings are what this host does not enforce, in words.
	Warnings []string `json:"warnings,omitempty"`
}

// Detail is a sandbox with the resolved description it was made from, and
// what is known of it while it runs.
type Detail struct {
	Sandbox
	Spec    config.Spec `json:"spec"`
	Running *Running    `json:"running,omitempty"`
}

// Running is what exists of a sandbox only while it runs.
type Running struct {
	Pid      int       `json:"pid"`      // PID 1's pid on the host
	UIDBase  uint32    `json:"uid_base"` // the host uid that is root inside
	Cgroup   string    `json:"cgroup"`
	Sessions []Session `json:"sessions,omitempty"`
}

// Session is one terminal session of a sandbox.
type Session struct {
	Name     string    `json:"name"`
	Command  []string  `json:"command"`
	Cols     int       `json:"cols"`
	Rows     int       `json:"rows"`
	Clients  int       `json:"clients"`
	Created  time.Time `json:"created"`
	Activity time.Time `json:"activity"`
	// Idle says that nothing but its shell is in the foreground.
	Idle bool `json:"idle,omitempty"`
}

// ListOptions narrows a list: GET /v1/sandboxes. Query: label=KEY=VALUE, label=KEY
// and state=STATE, each any number of times.
type ListOptions struct {
	// Labels must all be there, with these values.
	Labels map[string]string
	// Having are labels that must be there, whatever their values.
	Having []string
	// States is which of them to show; empty for all.
	States []lifecycle.State
}

// CreateRequest makes a sandbox: POST /v1/sandboxes.
type CreateRequest struct {
	// ID is twelve hex digits that the caller made up, so that it can follow and
	// cancel what it asks for. The daemon makes one up when it is empty.
	ID string `json:"id,omitempty"`
	// Name is made up by the daemon when empty.
	Name string      `json:"name,omitempty"`
	Spec config.Spec `json:"spec"`
	// Secrets are the values of the spec's variables with From "env", read
	// from the caller's environment. They are kept in no file.
	Secrets map[string]string `json:"secrets,omitempty"`
	// Dirs are the directories of the spec's mounts, one each and in that
	// order, opened by the caller: the daemon opens no path that a caller
	// names. They travel beside the request (SCM_RIGHTS, unix(7)) and stay
	// the caller's to close.
	Dirs []*os.File `json:"-"`
	// ImageID is the id of the image that Spec.Image stands for, where that is a
	// file of the caller's (oci:, docker-archive:), which was imported before.
	ImageID string `json:"image_id,omitempty"`
	// Auth is what the caller has for the registry of Spec.Image.
	Auth *RegistryAuth `json:"auth,omitempty"`
}

// StartRequest starts a sandbox: POST /v1/sandboxes/{ref}/start (and restart).
type StartRequest struct {
	Secrets map[string]string `json:"secrets,omitempty"`
	// SkipSetup (start) leaves setup steps that are still to be done for the
	// next start, so that what they fail on can be mended inside.
	SkipSetup bool `json:"skip_setup,omitempty"`
	StopRequest
}

// StopRequest stops a sandbox: POST /v1/sandboxes/{ref}/stop.
type StopRequest struct {
	// Force kills at once, without asking the programs inside to end.
	Force bool `json:"force,omitempty"`
}

// ExecRequest runs a program: POST /v1/sandboxes/{ref}/exec, upgraded to
// [StreamProtocol].
type ExecRequest struct {
	Argv []string          `json:"argv"`
	Env  map[string]string `json:"env,omitempty"`
	Dir  string            `json:"dir,omitempty"`  // default: the spec's workdir
	User string            `json:"user,omitempty"` // default: the spec's user
	// Stdin says that the caller will send standard input; without it the
	// program reads /dev/null.
	Stdin bool `json:"stdin,omitempty"`
	// TTY gives the program a terminal of its own of Cols x Rows; its
	// stderr is then part of stdout.
	TTY     bool            `json:"tty,omitempty"`
	Cols    int             `json:"cols,omitempty"`
	Rows    int             `json:"rows,omitempty"`
	Term    string          `json:"term,omitempty"`    // TERM of the caller
	Timeout config.Duration `json:"timeout,omitempty"` // 0: none
}

// AttachRequest joins or makes a terminal session that outlives its clients:
// POST /v1/sandboxes/{ref}/attach, upgraded to [StreamProtocol].
type AttachRequest struct {
	Session string   `json:"session,omitempty"` // default "main"
	Argv    []string `json:"argv,omitempty"`    // of a new session; default: the spec's shell
	Cols    int      `json:"cols"`
	Rows    int      `json:"rows"`
	Term    string   `json:"term,omitempty"`
}

// DaemonStatus is GET /v1/version.
type DaemonStatus struct {
	Pid       int       `json:"pid"`
	Version   string    `json:"version"`
	Socket    string    `json:"socket"`
	StateDir  string    `json:"state_dir"`
	Inst      string    `json:"inst"`
	Started   time.Time `json:"started"`
	Sandboxes int       `json:"sandboxes"`
	// Disk is the file system of the state directory.
	Disk *HostDisk `json:"disk,omitempty"`
	// Warnings are what this host lacks or does not enforce, in words.
	Warnings []string `json:"warnings,omitempty"`
}

// EventType is the type of an [Event].
type EventType string

// The types of events.
const (
	// EventSnapshot is the first event of a subscription whose cursor the
	// daemon does not know: all sandboxes the caller may see.
	EventSnapshot EventType = "snapshot"
	// EventSandbox says that a sandbox is new or changed; it carries the
	// whole of it.
	EventSandbox EventType = "sandbox"
	// EventRemoved says that a sandbox is gone.
	EventRemoved EventType = "removed"
	// EventPing is sent every few seconds when nothing happens, so that a
	// client can tell a quiet daemon from a dead one. It has no sequence number.
	EventPing EventType = "ping"
)

// Cursor is a place in the event journal. A client that reconnects with the
// last cursor it saw misses nothing.
type Cursor struct {
	Epoch string `json:"epoch"`
	Seq   uint64 `json:"seq"`
}

// Event is one line of GET /v1/events (NDJSON). Query: since=EPOCH:SEQ, and
// follow=0 to end after what is known now.
type Event struct {
	Type EventType `json:"type"`
	Cursor
	Time      time.Time `json:"time"`
	Sandbox   *Sandbox  `json:"sandbox,omitempty"`   // sandbox, removed (its last state)
	Sandboxes []Sandbox `json:"sandboxes,omitempty"` // snapshot
}

// Check is one thing that the daemon tried this machine for: GET /v1/checks.
type Check struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"`
}

// Leak is one thing of this instance's that no sandbox accounts for.
type Leak struct {
	Kind string `json:"kind"` // mount, cgroup, process, veth, nft, loop, directory, lease, socket
	What string `json:"what"`
}
