package tui

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"cove/runtime/api"
	"cove/tui/dialog"
	"cove/tui/text"
	"cove/tui/theme"
)

// hostWidth is how wide the page about the machine is at most.
const hostWidth = 96

// openHost opens the page about the machine: its disk, its GPUs with who holds
// them, and what it lacks. It shows what is true now as long as it is open.
func (a *App) openHost() {
	a.dialogs.Open(dialog.NewPage("host", "This machine", func(th *theme.Theme, w int) []string {
		p := page{th: th, w: min(w, hostWidth)}
		a.hostPage(&p)
		p.lines[0] = text.Fit(p.lines[0], p.w, "") // the width of the box
		return p.lines
	}))
}

func (a *App) hostPage(p *page) {
	h := &a.host
	if !h.known {
		p.plain(p.th.Muted, "The daemon has not told of this machine yet.")
		return
	}
	if a.fresh() {
		cpu, memory := a.meters.Total()
		p.head("IN USE BY SANDBOXES")
		p.row("cpu", strconv.FormatFloat(cpu, 'f', 1, 64)+" cores")
		p.row("memory", text.Bytes(memory))
	}
	diskPart(p, h, a.snap.Sandboxes)
	p.head("GPUS")
	switch {
	case h.gpuErr != nil:
		p.plain(p.th.Warn, h.gpuErr.Error())
	case len(h.gpus) == 0:
		p.plain(p.th.Muted, "none that sandboxes could have")
	}
	for i := range h.gpus {
		gpuPart(p, &h.gpus[i])
	}
	p.head("WHAT THIS HOST LACKS")
	if len(h.warnings) == 0 {
		p.plain(p.th.OK, "nothing for limits of processor, memory and processes")
	}
	for _, w := range h.warnings {
		p.plain(p.th.Text, w)
	}
	p.plain(p.th.Muted, "cove doctor tells more")
}

// diskPart is about the file system that holds all sandboxes.
func diskPart(p *page, h *hostInfo, boxes []api.Sandbox) {
	d := h.disk
	if d == nil {
		return
	}
	p.head("DISK")
	style := p.th.Text
	if d.Low {
		style = p.th.Warn
	}
	p.styled("free", style, p.list(text.Bytes(d.Free)+" of "+text.Bytes(d.Total), "reserve "+text.Bytes(d.Reserve)))
	if d.Promised > 0 {
		words := text.Bytes(d.Promised) + " could still be written under the quotas"
		if d.Promised > d.Free-d.Reserve {
			words += ", more than there is"
		}
		p.row("promised", words)
	}
	if low := h.low(boxes); low != "" {
		p.plain(p.th.Warn, p.th.Glyphs.Look+" "+low+". Below the reserve what writes stands still, and nothing new is made, until there is space again.")
	}
}

// gpuPart is one device: what it is, what it does, who holds it.
func gpuPart(p *page, g *api.GPU) {
	name := g.Model
	if name == "" {
		name = g.Vendor
	}
	p.styled(strconv.Itoa(g.Index), p.th.Strong, p.list(name, g.ID, g.UUID))
	p.row("", p.list(gpuUse(p.th, api.GPUUse{Utilization: g.Utilization, Memory: g.Memory, MemoryTotal: g.MemoryTotal, Missing: g.Missing}), "found by "+g.Source))
	others := g.Held - len(g.Holders)
	held := strings.Join(g.Holders, ", ")
	switch {
	case held == "" && others <= 0:
		p.styled("", p.th.Muted, "free")
		return
	case held == "":
		held = "somebody else's sandbox"
	case others > 0:
		held += fmt.Sprintf(" and %d of others", others)
	}
	if g.Shared {
		held += ", who share it"
	}
	p.row("", "held by "+held)
}

// gpuUse is how busy a device is and what of its memory is used, where that can
// be told.
func gpuUse(th *theme.Theme, g api.GPUUse) string {
	var words []string
	if !slices.Contains(g.Missing, "utilization") {
		words = append(words, text.Percent(g.Utilization)+" busy")
	}
	if !slices.Contains(g.Missing, "memory") {
		s := text.Bytes(g.Memory)
		if g.MemoryTotal > 0 {
			s += "/" + text.Bytes(g.MemoryTotal)
		}
		words = append(words, s)
	}
	if len(words) == 0 {
		return "what it does cannot be told here"
	}
	return strings.Join(words, " "+th.Glyphs.Dot+" ")
}
