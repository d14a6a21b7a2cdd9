package api

import (
	"context"
	"net/http"
	"strings"
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
	// Busy are the kinds of activity that there are now; "held" is among them
	// of one that the guard has frozen, see [Sandbox].
	Busy []string `json:"busy,omitempty"`
	// Error is why the last try failed, in words; another one follows at At.
	Error string `json:"error,omitempty"`
}

// Text says it in a few words, as of now: "stops in 4m12s: no terminal, exec,
// cpu", "deleted in 6d23h: auto_delete", "stops when idle; now: cpu". It is empty
// where nothing is due.
func (d *Due) Text(now time.Time) string {
	if d == nil {
		return ""
	}
	verb := map[lifecycle.Operation]string{
		lifecycle.OpStop: "stops", lifecycle.OpPause: "pauses", lifecycle.OpArchive: "archived", lifecycle.OpDelete: "deleted",
	}[d.Action]
	if verb == "" {
		verb = string(d.Action) // of a newer daemon
	}
	var text string
	switch left := d.At.Sub(now); {
	case d.At.IsZero():
		text = verb + " when idle; now: " + strings.Join(d.Busy, ", ")
	case left <= 0:
		text = verb + " now: " + d.cause()
	default:
		text = verb + " in " + shortSpan(left) + ": " + d.cause()
	}
	if d.Error != "" {
		text += "; the last try failed: " + d.Error
	}
	return text
}

func (d *Due) cause() string {
	if len(d.Without) > 0 {
		return "no " + strings.Join(d.Without, ", ")
	}
	return d.Key
}

// shortSpan is a span of time in its two largest units: "4m12s", "6d23h".
func shortSpan(d time.Duration) string {
	const day = 24 * time.Hour
	step := time.Second
	switch {
	case d >= day:
		step = time.Hour
	case d >= time.Hour:
		step = time.Minute
	}
	return config.Duration(max(d.Truncate(step), time.Second)).String()
}

// AutomationRequest changes what happens to a sandbox with time: POST
// /v1/sandboxes/{ref}/automation.
type AutomationRequest struct {
	// Automation takes the place of all of it, and must be there. Fields that it
	// leaves out are the defaults.
	Automation *config.Automation `json:"automation"`
}

// SetAutomation changes what happens to a sandbox with time, in every state but
// destroyed. Times that are over do not count, but for its ttl. Codes: not_found,
// invalid, unsupported, conflict (the ttl would be over already). Stable.
func (c *Client) SetAutomation(ctx context.Context, ref string, a config.Automation) (Sandbox, error) {
	var s Sandbox
	return s, c.of(ctx, http.MethodPost, ref, "automation", nil, AutomationRequest{Automation: &a}, &s)
}

// Touch has the time in which a sandbox was not in use, and that since it
// stopped, count from now. Codes: not_found, conflict. Stable.
func (c *Client) Touch(ctx context.Context, ref string) (Sandbox, error) {
	var s Sandbox
	return s, c.of(ctx, http.MethodPost, ref, "touch", nil, nil, &s)
}
