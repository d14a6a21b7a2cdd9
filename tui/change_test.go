package tui

import (
	"testing"
	"time"

	"cove/config"
	"cove/runtime/api"
	"cove/tui/internal/require"
)

// use is what the sandboxes of the tests of changes use.
func inUse(m *model) {
	m.fake.Load = func(string, int) (float64, int64) { return 0.5, 300 << 20 }
	m.measure(2)
}

func TestResize(t *testing.T) {
	m := newModel(t, 120, 30, fleet(noon())...)
	inUse(m)
	var got api.ResizeRequest
	m.fake.RefuseResize = func(r api.ResizeRequest) error { got = r; return nil }
	m.key("R")
	m.see("Limits of fix-auth")
	m.see("asking the daemon what it has now")
	m.see("300M in use, peak 375M")
	m.run()
	m.see("  Memory     4GiB ")
	m.see("  Disk       10GiB ")
	m.key("enter")
	m.see("nothing was changed yet")
	m.key("tab")
	m.typed("128MiB")
	m.see("300M in use: may be refused")
	m.key("tab", "tab")
	m.typed("many")
	m.see(`"many" is no number of processes`)
	m.key("enter")
	m.run()
	require.Empty(t, m.fake.Calls(), "what is wrong is not sent")
	m.key("ctrl+u")
	m.fake.More = func(s *api.Stats) { s.Pids = 64 }
	m.measure(1)
	m.typed("5")
	m.see("5 processes cannot be the limit")
	m.typed("0")
	m.see("64 in use: no more can start")
	m.key("tab")
	m.typed("1GiB")
	m.see("a quota can only grow: it is 10GiB")
	m.key("ctrl+u")
	m.typed("20GiB")
	m.see("$ cove resize fix-auth --memory 128MiB --pids 50 --disk 20GiB")
	m.key("enter")
	m.see("resize…")
	m.key("enter", "x", "up") // it is under way
	m.run()
	m.gone("Limits of")
	m.see("resized fix-auth   $ cove resize fix-auth --memory 128MiB --pids 50 --disk 20GiB")
	require.Equal(t, []string{"resize a1"}, m.fake.Calls())
	memory, pids, disk := 128*config.MiB, int64(50), 20*config.GiB
	require.Equal(t, api.ResizeRequest{Memory: &memory, Pids: &pids, Disk: &disk}, got)
	m.key("R")
	m.run()
	m.see("  Memory     128MiB ") // what it has now
	m.key("esc", "G", "R")        // it is being made
	m.see("resize needs a sandbox that is started or stopped")
}

// What the daemon says stays in the dialog, beside the field where it is about
// one, and nothing that was typed is lost.
func TestARefusedResizeLosesNothing(t *testing.T) {
	m := newModel(t, 120, 30, fleet(noon())...)
	inUse(m)
	refusal := error(&api.Error{Code: api.CodeConflict, Message: "300MiB of memory are in use, which is more than 128MiB", Hint: "stop something inside first"})
	m.fake.RefuseResize = func(api.ResizeRequest) error { return refusal }
	m.key("R")
	m.run()
	m.key("tab")
	m.typed("128MiB")
	m.key("enter")
	m.run()
	m.see("300MiB of memory are in use, which is more than 128MiB")
	m.see("> Memory     128MiB")
	m.gone("✗ resize") // it is said in one place
	m.key("ctrl+o")
	m.see("stop something inside first")
	m.key("esc")
	refusal = &api.Error{Code: api.CodeInvalid, Message: "the limits are wrong", Problems: []config.Problem{{Key: "resources.cpu", Message: "this host has 2 cores"}}}
	m.key("enter")
	m.run()
	m.see("> CPU ")
	m.see("this host has 2 cores")
	m.gone("are in use, which")
	m.typed("1")
	m.gone("this host has 2 cores")
	// Left while it is under way, it is told below the list.
	m.key("enter", "esc")
	m.run()
	m.see("✗ resize fix-auth: the limits are wrong")
	refusal = nil
	m.key("R", "2", "enter") // typed before the daemon has told what there is
	m.see("asking the daemon")
	m.run()
	m.see("resized fix-auth   $ cove resize fix-auth --cpu 2")
}

func TestResizeOfASandboxThatIsGone(t *testing.T) {
	m := newModel(t, 120, 30, fleet(noon())...)
	m.key("R")
	m.fake.Remove("a1")
	m.sync()
	m.run()
	m.see("there is no sandbox a1")
	m.key("tab", "1", "enter")
	m.run()
	m.see("there is no sandbox a1")
	m.key("esc")
	m.gone("Limits of")
}

func TestTouch(t *testing.T) {
	m := newModel(t, 120, 30, fleet(noon())...)
	m.key("T")
	m.run()
	m.see("touched fix-auth   $ cove touch fix-auth")
	m.key("*", "T")
	m.see("What they would do by themselves soon is put off.")
	m.key("y")
	m.run()
	m.see("7 touched")
	require.Len(t, m.fake.Calls(), 8)
}

func TestAutomation(t *testing.T) {
	m := newModel(t, 120, 30, fleet(noon())...)
	m.key("Z")
	m.run()
	m.see("What fix-auth does by itself")
	m.see("  Archive  7d")
	m.typed("30")
	m.see("it needs a unit")
	m.key("enter")
	m.run()
	require.Empty(t, m.fake.Calls())
	m.typed("m")
	m.key("tab", "tab", "tab")
	m.typed("0")
	m.key("tab")
	m.typed("0") // it would end at once
	m.see("0 would end it at once")
	m.key("ctrl+u")
	m.see("$ cove automation fix-auth --auto-stop 30m --auto-delete 0 ")
	m.key("enter")
	m.run()
	m.gone("does by itself")
	require.Equal(t, []string{"automation a1 stop 30m delete 0"}, m.fake.Calls())
	m.key("Z")
	m.run()
	m.see("> Stop     30m")
	m.key("esc")
	require.Equal(t, config.Duration(30*time.Minute), m.app.detail.got.Spec.Automation.AutoStop, "the details are asked for again")
}
