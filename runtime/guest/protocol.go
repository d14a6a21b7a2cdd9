// Package guest is the protocol between the daemon and cove-init, PID 1 of a
// sandbox, and the daemon's client of it.
//
// One unix stream connection carries one request. The guest speaks first, with
// a [Hello]; the daemon answers with a [Request]; what follows depends on the
// request. All that the guest says is hostile to the daemon: frames are capped
// by package frame, every string below by a limit, every wait by a timeout; no
// path it names is opened on the host and no file descriptor is taken from it.
package guest

import (
	"time"

	"cove/runtime/frame"
)

// ProtocolVersion is the version that this build speaks; it also speaks the
// one before, so that a daemon can be upgraded over living sandboxes.
const ProtocolVersion = 2

// ListenFD is the file descriptor on which cove-init finds its listener.
const ListenFD = 3

// InitPath is where the cove-init program is mounted, read-only, in a sandbox.
const InitPath = "/run/cove/init"

// Limits of what one request may ask.
const (
	MaxArgs     = 4096
	MaxEnv      = 4096
	MaxRequest  = frame.MaxPayload // bytes of JSON: one frame
	MaxSessions = 64
	MaxName     = 64
	MaxSource   = 512 << 10 // bytes
	MaxCols     = 4096      // and rows
)

// DefaultSession is the session that an Attach without a name joins or makes.
const DefaultSession = "main"

// CodeTimeout is the exit code of a program whose time was up, as timeout(1)
// gives it; CodeNotExecutable and CodeNotFound are the shell's for a program
// that cannot be started.
const (
	CodeTimeout       = 124
	CodeNotExecutable = 126
	CodeNotFound      = 127
)

// Hello is the guest's first frame on every connection.
type Hello struct {
	Version int `json:"version"`
	// Ready is false until a Configure request has been carried out; only
	// Configure and Ping are served before.
	Ready bool   `json:"ready"`
	Boot  string `json:"boot"` // random per life of PID 1: tells a restarted sandbox from the same one
}

// Kind is what a request asks for.
type Kind string

// The kinds of requests.
const (
	// Ping is answered with a Reply: liveness.
	Ping Kind = "ping"
	// Configure is sent once, after start: what later requests default to.
	// Answered with a Reply.
	Configure Kind = "configure"
	// Exec runs a program. Answered with Started (or Exit with an Error),
	// then Stdout, Stderr and Ack frames, then Exit. The daemon sends
	// Stdin, Resize and Signal frames. When the connection is lost the
	// program gets SIGHUP and its output is read and thrown away; with TTY
	// its terminal is hung up. Exit comes when the program itself has ended
	// and what it wrote has been sent: processes that it left behind do not
	// hold the stream. With Timeout, all that it started is killed when the
	// time is up: Exit with ReasonTimeout and CodeTimeout.
	Exec Kind = "exec"
	// Code is an Exec of a source that is written to a file of the user's own
	// for as long as it runs: Argv are the arguments behind it. Since version 2.
	Code Kind = "code"
	// Files copies files by way of a program that PID 1 has for it, as User;
	// the stream is that of an Exec whose standard input or output is a tar.
	// What it has to say at its end is a files.Summary, JSON in one line on
	// Stderr. Since version 2.
	Files Kind = "files"
	// Logs is answered with Started, then LogRecords, JSON in one line each on
	// Stdout, then Exit; with Follow it does not end. Since version 2.
	Logs Kind = "logs"
	// Attach joins or makes a session. Answered with Started, then a
	// redraw and the live stream as Stdout frames; Exit when the session's
	// program ends. Losing the connection only detaches. The stream ends
	// without Exit for a client that did not read for too long.
	Attach Kind = "attach"
	// Sessions is answered with a Reply that lists them.
	Sessions Kind = "sessions"
	// Shutdown asks everything inside to end: SIGHUP (and SIGCONT) to the
	// terminals' process groups, SIGTERM to the rest, SIGKILL after
	// Timeout. Answered with a Reply when nothing is left, then PID 1
	// exits with status 0.
	Shutdown Kind = "shutdown"
)

// CodeRequest is the part of a Code request that says what is run.
type CodeRequest struct {
	// Name is the file's, of one element; Source what is in it.
	Name   string `json:"name"`
	Source []byte `json:"source"`
	// Ways are tried in order; Missing is said where no way's program is there.
	Ways    []Way  `json:"ways"`
	Missing string `json:"missing"`
}

// Way is one way to run a source: Argv, then its path, then its arguments. It can
// be gone where the program Needs is found on the PATH.
type Way struct {
	Needs string   `json:"needs"`
	Argv  []string `json:"argv"`
}

// FilesOp is what is done with files.
type FilesOp string

// What can be done with files.
const (
	Get     FilesOp = "get"     // a tar of Path comes out
	Put     FilesOp = "put"     // one that Get makes goes in, at or below Path
	Extract FilesOp = "extract" // any tar goes in, below the directory Path
)

// FilesRequest is the part of a Files request that says what is copied.
type FilesRequest struct {
	Op FilesOp `json:"op"`
	// Path is relative to Dir; a leading "~/" is the user's home.
	Path string `json:"path"`
	// Name (Get) is what it is called in the tar; (Put) below a directory,
	// empty for that directory itself.
	Name string `json:"name,omitempty"`
	// Follow (Get): what a link at Path leads to.
	Follow bool `json:"follow,omitempty"`
	// Owner (Put, Extract) is "user[:group]" whose what is made becomes; empty is the
	// user's who copies.
	Owner string `json:"owner,omitempty"`
}

// Request is the daemon's first frame on a connection. Fields that a kind does
// not name are zero.
type Request struct {
	Version int  `json:"version"`
	Kind    Kind `json:"kind"`

	// Configure
	Hostname string `json:"hostname,omitempty"`
	// Formerly is the host name of before a rename, which the sandbox's files
	// may still have.
	Formerly string `json:"formerly,omitempty"`
	// Defaults of Exec and Attach: environment, working directory (made
	// when it does not exist, owned by User), user, shell.
	Env   map[string]string `json:"env,omitempty"` // Exec: over the defaults
	Dir   string            `json:"dir,omitempty"`
	User  string            `json:"user,omitempty"`
	Shell []string          `json:"shell,omitempty"`

	// Lenient (Configure) keeps going where the user or the working
	// directory is no more: in a sandbox that has run before, programs may
	// have made anything of them, and its owner still has to get in.
	Lenient bool `json:"lenient,omitempty"`

	// Follow (Logs) goes on with what comes.
	Follow bool `json:"follow,omitempty"`
	// Unlogged (Exec, Code) keeps what the program prints out of the journal.
	Unlogged bool `json:"unlogged,omitempty"`

	Code *CodeRequest `json:"code,omitempty"` // Code
	// Files; Stdin goes with Put and Extract
	Files *FilesRequest `json:"files,omitempty"`

	// Exec, Attach
	Argv    []string `json:"argv,omitempty"`
	Stdin   bool     `json:"stdin,omitempty"`
	TTY     bool     `json:"tty,omitempty"`
	Cols    int      `json:"cols,omitempty"`
	Rows    int      `json:"rows,omitempty"`
	Term    string   `json:"term,omitempty"`
	Session string   `json:"session,omitempty"`
	// Missing (Attach) is a line that tells where Argv's program is not there:
	// the new session then shows it, and has the shell in the program's place.
	Missing string        `json:"missing,omitempty"`
	Timeout time.Duration `json:"timeout,omitempty"` // Exec, Shutdown; nanoseconds
}

// Reply answers Ping, Configure, Sessions and Shutdown.
type Reply struct {
	Error    string        `json:"error,omitempty"`
	Sessions []SessionInfo `json:"sessions,omitempty"`
}

// SessionInfo is one terminal session.
type SessionInfo struct {
	Name     string    `json:"name"`
	Command  []string  `json:"command"`
	Cols     int       `json:"cols"`
	Rows     int       `json:"rows"`
	Clients  int       `json:"clients"`
	Created  time.Time `json:"created"`
	Activity time.Time `json:"activity"`
	// Idle says that nothing but its shell is in the foreground. A PID 1 that
	// does not know the field never says so.
	Idle bool `json:"idle,omitempty"`
}
