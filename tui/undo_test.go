package tui

import (
	"testing"

	"cove/tui/internal/require"
)

func TestUndoDelete(t *testing.T) {
	m := newModel(t, 120, 30, fleet(noon())...)
	m.key("D")
	m.see("minutes u brings it back.")
	m.key("y")
	m.run()
	m.see("deleted fix-auth   $ cove rm fix-auth   u brings it back")
	m.key("u")
	m.run()
	m.see("fix-auth is back, stopped   $ cove undo")
	m.see("> fix-auth")
	m.key("u")
	m.run()
	m.see("there is nothing to undo")
}

func TestArchive(t *testing.T) {
	m := newModel(t, 120, 30, fleet(noon())...)
	m.key("A")
	m.see("archive needs a sandbox that is stopped; this one is started")
	m.key("s")
	m.run()
	m.key("A")
	m.run()
	m.see("archived fix-auth   $ cove archive fix-auth")
	m.key("s")
	m.run()
	require.Equal(t, []string{"stop a1", "archive a1", "start a1"}, m.fake.Calls())
}
