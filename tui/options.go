package tui

import (
	"errors"
	"os"
	"time"

	"github.com/charmbracelet/x/term"

	"cove/config"
)

// Options are what the program is started with.
type Options struct {
	Backend  Backend
	Profiles Profiles
	// What is nil of these has no keys and no page.
	Images    Images
	Snapshots Snapshots
	Volumes   Volumes
	Builds    Builds
	Changes   Changes
	// ValidName says why a name cannot be a sandbox's, or nil.
	ValidName func(string) error
	// SpecText writes a description as a profile, for the details.
	SpecText func(config.Spec) string
	// Sort is what the list is sorted by at first: attention (the default),
	// name, cpu, memory, disk, gpu, age, state or profile.
	Sort string
	// In and Out are the terminal, by default the standard ones.
	In, Out *os.File
	// Environ is the environment: TERM and NO_COLOR are read, and what Bubble
	// Tea looks at to know the terminal's colours.
	Environ []string
	// ASCII draws with ASCII characters only.
	ASCII bool
	// Clock is by default time.Now.
	Clock func() time.Time
}

// Errors of [Usable].
var (
	ErrNotTerminal = errors.New("the terminal interface needs a terminal on its input and output")
	ErrDumb        = errors.New("the terminal interface needs a terminal that can place its cursor, and TERM is dumb or not set")
)

// Usable says why the interface cannot be shown there, or nil: in and out must
// be terminals, and termName, the value of TERM, must not be "dumb" or empty.
// Bubble Tea would write its escape sequences all the same, so whoever starts
// the interface asks first, and prints the plain list instead.
func Usable(in, out *os.File, termName string) error {
	switch {
	case !term.IsTerminal(in.Fd()), !term.IsTerminal(out.Fd()):
		return ErrNotTerminal
	case termName == "", termName == "dumb":
		return ErrDumb
	}
	return nil
}
