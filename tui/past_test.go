package tui

import (
	"errors"
	"math"
	"testing"
	"time"

	"cove/runtime/lifecycle"
	"cove/tui/internal/require"
)

func TestHistoryTab(t *testing.T) {
	m := limited(t, 120, 40)
	m.key("down", "down", "]", "]") // the trainer's
	m.see("[15m]")
	m.see("cpu       average ")
	m.see("memory    most ")
	m.see("gpu       average ")
	m.see("processes most ")
	m.see("11:45")
	m.see("started")
	m.key("-", "-")
	m.see("[6h]")
	m.see("06:00")
	m.see("11:46:00  stopped: it was idle")
	m.key("+", "+", "+", "+")
	m.see("[15m]")
	m.key("-", "-", "-", "-", "-")
	m.see("[24h]")
	m.key("G") // one that is stopped used nothing
	m.see("There is no sample of that")
	m.key("[", "-")
	m.see("only the History tab has a range of time")
	m.key("v", "-")
	m.see("v shows the details first")
}

// The past is asked for where it is shown, again when a graph could show a
// difference, and at once when the sandbox changed.
func TestHistoryIsAskedForSparingly(t *testing.T) {
	m := newModel(t, 120, 40, fleet(noon())...)
	asked := func() int { return m.app.past.gen }
	require.Equal(t, 0, asked(), "nothing runs that was measured")
	m.key("]", "]")
	require.Equal(t, 1, asked())
	m.see("[15m]")
	for range 19 { // seconds
		m.now = m.now.Add(time.Second / 2)
		m.send(tickMsg{})
	}
	require.Equal(t, 1, asked())
	m.now = m.now.Add(2 * time.Second)
	m.send(tickMsg{})
	require.Equal(t, 2, asked())
	b := fleet(noon())[0]
	b.State = lifecycle.Stopped
	m.fake.Put(b)
	m.sync()
	require.Equal(t, 3, asked())
	m.key("-")
	require.Equal(t, 4, asked())
	m.send(pastMsg{gen: 1, err: errors.New("late")})
	m.gone("late")
	m.send(pastMsg{gen: 4, err: errors.New("no such path")})
	m.see("no such path")
	m.now = m.now.Add(time.Minute)
	m.send(tickMsg{})
	m.gone("no such path")
}

// The graphs of a sandbox begin with what the daemon has kept, though nobody
// looked then.
func TestGraphsBeginWithThePast(t *testing.T) {
	m := newModel(t, 120, 40, fleet(noon())...)
	m.measure(3)
	values := m.app.meters.Of("a1").CPUs(nil, 100)
	require.AtLeast(t, len(values), 100)
	require.False(t, math.IsNaN(values[0]))
	asked := m.app.past.gen
	m.measure(3)
	m.key("down", "up")
	require.AtMost(t, m.app.past.gen, asked+1, "of each once")
	m.key("v", "v")
	require.AtMost(t, m.app.past.gen, asked+1)
}
