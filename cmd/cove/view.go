package main

import (
	"time"

	"cove/config"
	"cove/runtime/api"
	"cove/runtime/lifecycle"
)

// sandboxView is a sandbox as --json shows it: what a script asks for by name
// is always there, null or empty where there is nothing.
type sandboxView struct {
	api.Sandbox
	Reason  *lifecycle.Reason `json:"reason"`
	Profile string            `json:"profile"`
	Labels  map[string]string `json:"labels"`
	Started *time.Time        `json:"started"`
	Stopped *time.Time        `json:"stopped"`
	Due     *dueView          `json:"due"`
}

func viewOf(s api.Sandbox) sandboxView {
	v := sandboxView{Sandbox: s, Reason: s.Reason, Profile: s.Profile, Labels: s.Labels, Started: s.Started, Stopped: s.Stopped}
	v.Due = viewOfDue(s.Due, time.Now())
	if v.Labels == nil {
		v.Labels = map[string]string{}
	}
	return v
}

// detailView is what inspect shows: a sandbox, its resolved spec, and what is
// known of it while it runs.
type detailView struct {
	sandboxView
	Spec    config.Spec  `json:"spec"`
	Running *api.Running `json:"running"`
}

func detailOf(d api.Detail) detailView {
	return detailView{sandboxView: viewOf(d.Sandbox), Spec: d.Spec, Running: d.Running}
}

// stateWord is a sandbox's state with the reason of a stop or a failure.
func stateWord(s api.Sandbox) string {
	word := string(s.State)
	if s.Held != "" && s.State == lifecycle.Started {
		return word + ", held"
	}
	if s.Reason != nil && s.Reason.Kind != "" && !s.State.Running() {
		word += " (" + s.Reason.String() + ")"
	}
	return word
}
