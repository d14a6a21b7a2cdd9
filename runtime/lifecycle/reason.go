package lifecycle

import "fmt"

// ReasonKind is the kind of reason for which a sandbox stopped or failed.
type ReasonKind string

// The kinds of reasons.
const (
	ReasonUser ReasonKind = "user"
	ReasonIdle ReasonKind = "idle"
	ReasonTTL  ReasonKind = "ttl"
	// Deleted or archived because it was stopped for so long: the keys of the
	// profile.
	ReasonAutoDelete  ReasonKind = "auto_delete"
	ReasonAutoArchive ReasonKind = "auto_archive"

	ReasonOOM    ReasonKind = "oom"
	ReasonExited ReasonKind = "exited" // PID 1 ended by itself, with Code
	ReasonSignal ReasonKind = "signal" // PID 1 was ended by Signal
	ReasonCrash  ReasonKind = "crash"  // it ended and nobody saw how
	ReasonDisk   ReasonKind = "disk"   // it was ended to keep the host's disk from filling
	ReasonReboot ReasonKind = "reboot"
	ReasonFailed ReasonKind = "failed" // an operation failed; Detail says which and why
)

// Reason is why a sandbox is not running. The zero value is "no reason".
type Reason struct {
	Kind   ReasonKind `json:"kind,omitempty"`
	Code   int        `json:"code,omitempty"`
	Signal string     `json:"signal,omitempty"`
	Detail string     `json:"detail,omitempty"`
}

// String gives the short form that lists show: "user", "exited(3)",
// "signal(KILL)". The detail is not part of it.
func (r Reason) String() string {
	switch r.Kind {
	case ReasonExited:
		return fmt.Sprintf("exited(%d)", r.Code)
	case ReasonSignal:
		return fmt.Sprintf("signal(%s)", r.Signal)
	case ReasonUser, ReasonIdle, ReasonTTL, ReasonAutoDelete, ReasonAutoArchive, ReasonOOM, ReasonDisk, ReasonCrash, ReasonReboot, ReasonFailed:
		return string(r.Kind)
	}
	return string(r.Kind)
}
