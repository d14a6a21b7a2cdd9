package attach

import (
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"cove/runtime/frame"
	"cove/tui/text"
)

// How says how an attach ended.
type How int

// The ways in which an attach ends.
const (
	Detached How = iota // the person pressed the detach key
	Exited              // the session's program ended
	Lost                // the connection to the daemon broke
	Canceled            // the caller's context ended, or the terminal went away
)

// Result is how an attach ended.
type Result struct {
	How  How
	Exit frame.ExitStatus // Exited
	Err  error            // Lost, Canceled: why
	// Rest is what was typed behind the detach key and read with it. It was
	// meant for whoever reads the terminal next.
	Rest []byte
	// At is when the detach key was read.
	At time.Time
}

// Line says in one line what became of the session in the sandbox name.
func (r Result) Line(name string) string {
	switch r.How {
	case Detached:
		return fmt.Sprintf("detached from %s; what runs in it goes on", name)
	case Exited:
		return name + ": " + exitLine(r.Exit)
	case Lost:
		return fmt.Sprintf("%s: the connection is lost (%s); what runs in it goes on, cove attach %s comes back",
			name, text.Clean(r.Err.Error()), name)
	case Canceled:
		return fmt.Sprintf("left %s: %s; what runs in it goes on", name, text.Clean(r.Err.Error()))
	}
	return ""
}

// signalName names a signal as people know it. A stop of the sandbox hangs up
// its terminals first.
func signalName(n int) string {
	name := unix.SignalName(syscall.Signal(n))
	switch {
	case name == "":
		return fmt.Sprintf("signal %d", n)
	case syscall.Signal(n) == syscall.SIGHUP:
		return name + ": the terminal was hung up, as when the sandbox stops"
	}
	return name
}

func exitLine(st frame.ExitStatus) string {
	switch {
	case st.Reason == frame.ReasonOOM:
		return "the session was killed: out of memory"
	case st.Reason == frame.ReasonGone:
		return "the session ended: the sandbox stopped"
	case st.Error != "":
		return text.Clean(st.Error)
	case st.Signal != 0:
		return "the session was ended by " + signalName(st.Signal)
	case st.Code != 0:
		return fmt.Sprintf("the session ended with status %d", st.Code)
	}
	return "the session ended"
}
