package api

import (
	"time"

	"cove/config"
	"cove/runtime/lifecycle"
)

// Due is what a sandbox's automation does to it next, or would do if it were
// not busy.
type Due struct {
	// Action is stop, pause, archive or delete.
	Action lifecycle.Operation `json:"action"`
	// Key is the key of the profile that says so: auto_stop, auto_pause,
	// auto_archive, auto_delete or ttl.
	Key string `json:"key"`
	// At is when; zero while what Busy names holds it off.
	At time.Time `json:"at,omitzero"`
	// Without are the kinds of activity (the profile's activity list) of which
	// there was none: why it counts as idle. Empty where idleness does not matter.
	Without []string `json:"without,omitempty"`
	// Busy are the kinds of activity that there are now.
	Busy []string `json:"busy,omitempty"`
}

// AutomationRequest changes what happens to a sandbox with time: POST
// /v1/sandboxes/{ref}/automation.
type AutomationRequest struct {
	// Automation takes the place of all of it. It must be there.
	Automation *config.Automation `json:"automation"`
}
