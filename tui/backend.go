package tui

import (
	"context"
	"io"
	"time"

	"cove/config"
	"cove/runtime/api"
)

// Backend is what the TUI needs of the daemon; the client of runtime/api
// stands behind it. Errors are shown as they come, so they say what failed and
// what to do. Every method may block until its context ends, and may be called
// from several goroutines.
type Backend interface {
	// Watch calls each with every event after since, the zero Cursor meaning
	// a snapshot first, until ctx ends, the daemon goes away or each returns
	// an error. It always returns an error.
	Watch(ctx context.Context, since api.Cursor, each func(api.Event) error) error
	// Stats calls each with a sample of all running sandboxes, one every
	// api.StatsInterval, the first at once, until ctx ends, the daemon goes
	// away or each returns an error. It always returns an error.
	Stats(ctx context.Context, each func(api.StatsReport) error) error
	// Create makes and starts a sandbox; an empty name lets the daemon choose.
	// The id is twelve hex digits, which whoever asks makes up, so that it can
	// be followed and broken off while it is made.
	Create(ctx context.Context, id, name string, spec config.Spec) (api.Sandbox, error)
	// The others take the id of a sandbox.
	Start(ctx context.Context, id string) error
	Stop(ctx context.Context, id string) error
	Restart(ctx context.Context, id string) error
	Delete(ctx context.Context, id string) error
	Pause(ctx context.Context, id string) error
	Resume(ctx context.Context, id string) error
	Rename(ctx context.Context, id, name string) error
	SetLabels(ctx context.Context, id string, r api.LabelsRequest) error
	// Resize changes limits. Touch says that somebody wants the sandbox: what it
	// does when it is idle counts from now. SetAutomation changes what it does
	// by itself.
	Resize(ctx context.Context, id string, r api.ResizeRequest) error
	Touch(ctx context.Context, id string) error
	// Archive puts a sandbox's files away until it is started. Undo brings back
	// the last one that was deleted, and tells which it is.
	Archive(ctx context.Context, id string) error
	Undo(ctx context.Context) (api.Sandbox, error)
	SetAutomation(ctx context.Context, id string, auto config.Automation) error
	// Get returns all there is to know of a sandbox.
	Get(ctx context.Context, id string) (api.Detail, error)
	// History returns what became of a sandbox during the last span of time,
	// and what it used.
	History(ctx context.Context, id string, span time.Duration) (api.History, error)
	// Status is about the daemon and its machine, GPUs the devices that it
	// hands out.
	Status(ctx context.Context) (api.DaemonStatus, error)
	GPUs(ctx context.Context) ([]api.GPU, error)
	// Attach joins a terminal session and returns the stream of frames after
	// the daemon has agreed.
	Attach(ctx context.Context, id string, r api.AttachRequest) (io.ReadWriteCloser, error)
}

// Profile is one profile that a sandbox can be made from.
type Profile struct {
	Name        string
	Description string
	// Source is where it comes from, in words: a path, or "built-in".
	Source string
	// Err says why it cannot be used; it is shown in its place.
	Err error
}

// Flag is a flag of "cove create" with all the values it is given. A switch
// has the value "true" or "false".
type Flag struct {
	Name   string
	Values []string
}

// Profiles is where profiles come from. All of its functions read files and
// are called from commands. Errors and problems are shown as they come.
type Profiles struct {
	// List returns the profiles in the order in which they are offered; the
	// first one is chosen until the person chooses.
	List func(ctx context.Context) ([]Profile, error)
	// Resolve turns a profile's name and flags over it into what the daemon
	// is given, as the command line does.
	Resolve func(ctx context.Context, name string, flags []Flag) (config.Spec, error)
	// Preview tells what a profile and flags over it come to. The error is
	// about the profile itself.
	Preview func(ctx context.Context, name string, flags []Flag) (Preview, error)
	// Dirs completes the path of a directory as the caller: it returns what
	// to add to what was typed, "" when there is nothing to add.
	Dirs func(ctx context.Context, typed string) string
}

// Preview is what a profile and flags over it come to.
type Preview struct {
	// Base is the profile's own, without flags.
	Base config.Spec
	// Problems are all that is wrong with the two together, as Check tells
	// it, and with the directories that it mounts.
	Problems []config.Problem
	// Missing are the variables that it takes from the environment and that
	// are not set there.
	Missing []string
}
