package tui

import (
	"time"

	tea "charm.land/bubbletea/v2"
)

// follow runs the mirror until the program ends. It is a command so that Bubble
// Tea gives the terminal back should it ever panic.
func (a *App) follow() tea.Msg {
	a.mirror.Run(a.ctx)
	return nil
}

// mirrorMsg says that sandboxes or the connection changed.
type mirrorMsg struct {
	snap Snapshot
	at   time.Time
}

// framesPerSecond is how often Bubble Tea looks for a new picture to write. At
// 30 an idle screen would cost a third less of the processor, but a key would
// wait 20 ms for its frame at the median and 37 ms at the 99th percentile; the
// budgets are 17 and 35.
const framesPerSecond = 60

// frameTime is the least time between two looks at the mirror: one frame of
// the screen, since nobody sees more.
const frameTime = time.Second / framesPerSecond

// listen waits for the mirror to change, and at least one frame after last.
func (a *App) listen(last time.Time) tea.Cmd {
	return func() tea.Msg {
		select {
		case <-a.mirror.Changed():
		case <-a.ctx.Done():
			return nil
		}
		if wait := frameTime - a.opts.Clock().Sub(last); wait > 0 && wait <= frameTime {
			if !a.pause(wait) {
				return nil
			}
		}
		return mirrorMsg{snap: a.mirror.Snapshot(), at: a.opts.Clock()}
	}
}

// tickMsg is sent each second: ages grow and notices go.
type tickMsg struct{}

func (a *App) tick() tea.Msg {
	if !a.pause(time.Second) {
		return nil
	}
	return tickMsg{}
}

// pause waits, and tells whether the program still runs.
func (a *App) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-a.ctx.Done():
		return false
	}
}
