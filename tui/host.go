package tui

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"cove/runtime/api"
	"cove/tui/text"
)

// hostInfo is what the daemon told of the machine, when it was asked last.
// The zero value knows nothing.
type hostInfo struct {
	known    bool
	disk     *api.HostDisk
	gpus     []api.GPU
	warnings []string
	gpuErr   error
	told     bool // the person has been told of the warnings
}

// hostEvery is how often the daemon is asked about the machine.
const hostEvery = 5 * time.Second

// hostMsg is what it answered.
type hostMsg struct {
	status api.DaemonStatus
	gpus   []api.GPU
	err    error
	gpuErr error
}

// askHost asks the daemon about the machine it is on.
func (a *App) askHost() tea.Msg {
	ctx, cancel := context.WithTimeout(a.ctx, joinPatience)
	defer cancel()
	var msg hostMsg
	if msg.status, msg.err = a.opts.Backend.Status(ctx); msg.err == nil {
		msg.gpus, msg.gpuErr = a.opts.Backend.GPUs(ctx)
	}
	return msg
}

// hostDueMsg says that it is time to ask again.
type hostDueMsg struct{}

func (hostDueMsg) deliver(a *App) tea.Cmd {
	if !a.watched() {
		return a.waitHost
	}
	return a.askHost
}

func (a *App) waitHost() tea.Msg {
	if !a.pause(hostEvery) {
		return nil
	}
	return hostDueMsg{}
}

func (msg hostMsg) deliver(a *App) tea.Cmd {
	if msg.err != nil {
		a.host.known = false // the mirror says that the daemon is gone
		return a.waitHost
	}
	h := &a.host
	h.known, h.disk, h.gpuErr = true, msg.status.Disk, msg.gpuErr
	h.warnings = cleanAll(msg.status.Warnings)
	h.gpus = msg.gpus
	if n := len(h.warnings); n > 0 && !h.told {
		h.told = true
		if !a.notice.shown() {
			a.notice.say(a.now, "this host: "+strings.Join(h.warnings, "; ")+"; "+a.keyOf(actHost)+" shows it again")
		}
	}
	return a.waitHost
}

// own is those of a sandbox's warnings that are about it: limits of its own that
// are not enforced. What the host lacks for all of them is on its own page.
func (h *hostInfo) own(warnings []string) []string {
	var own []string
	for _, w := range warnings {
		if strings.HasPrefix(w, "resources.") || !slices.Contains(h.warnings, w) {
			own = append(own, w)
		}
	}
	return own
}

// low says that the disk is nearly full and what that does, "" while it is not.
func (h *hostInfo) low(boxes []api.Sandbox) string {
	n := 0
	for i := range boxes {
		if held(&boxes[i]) {
			n++
		}
	}
	switch {
	case !h.known || h.disk == nil || !h.disk.Low:
		return ""
	case n > 0:
		return fmt.Sprintf("disk low: %d held", n)
	}
	return "disk low"
}

// words are what the header says of the machine.
func (h *hostInfo) words() []string {
	if !h.known {
		return nil
	}
	var words []string
	if n := len(h.gpus); n > 0 {
		words = append(words, fmt.Sprintf("gpu %d/%d", h.gpusHeld(), n))
	}
	if h.disk != nil {
		words = append(words, "disk "+text.Bytes(h.disk.Free)+" free")
	}
	return words
}

// gpusHeld is how many devices some sandbox holds.
func (h *hostInfo) gpusHeld() int {
	n := 0
	for i := range h.gpus {
		if h.gpus[i].Held > 0 || len(h.gpus[i].Holders) > 0 {
			n++
		}
	}
	return n
}
