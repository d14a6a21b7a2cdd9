package tui

import (
	"errors"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"cove/config"
	"cove/runtime/api"
	"cove/tui/internal/require"
)

// fillForm answers some of the form, some of it wrong.
func fillForm(m *model) {
	m.key("n")
	m.run()
	m.typed("agent")
	m.run()
	m.key("tab")
	m.typed("fix-auth-2")
	m.key("tab", "tab")
	m.typed("1.5")
	m.key("tab")
	m.typed("4G")
	m.key("tab", "tab", "tab")
	m.key("right")
	m.key("tab")
	m.run()
	m.typed("/nowhere:/data")
	m.run()
}

func TestFormIsTheCommandLine(t *testing.T) {
	m := newModel(t, 120, 40, fleet(noon())...)
	m.key("n")
	m.run()
	m.see("$ cove create -p shell")
	m.key("down", "down", "down")
	m.see("$ cove create -p untrusted")
	m.run()
	m.see("512MiB")
	m.see("[blocked]")
	m.see("[when it stops]")
	m.key("tab")
	m.typed("zz")
	m.see("free")
	m.key("tab", "tab")
	m.typed("0.5")
	m.key("tab")
	m.typed("1GiB")
	m.key("tab")
	m.typed("99")
	m.key("tab")
	m.typed("64MiB")
	m.key("tab", "left") // open + LAN
	m.key("tab")
	m.typed("/src/app:/w:rw")
	m.key("down")
	m.typed("/src/it's mine:/x")
	m.key("tab", "tab")
	m.typed("A=b c")
	m.key("down")
	m.typed("KEY=$x")
	m.key("tab")
	m.typed("team=ml")
	m.key("tab")
	m.typed("30m")
	m.key("tab", "left")
	m.run()
	m.see(`$ cove create -p untrusted -n zz --cpu 0.5 --memory 1GiB --pids 99 --disk 64MiB`)
	m.see(`--block-all=false --lan --mount /src/app:/w:rw --mount '/src/it'\''s mine:/x' --env 'A=b`)
	m.see(`c' --env 'KEY=$x' `)
	m.see(`--label team=ml --auto-stop 30m --auto-delete never`)
	m.key("enter")
	m.run()
	m.gone("New sandbox")
	m.see("> zz")
	require.Equal(t, []string{"create zz untrusted"}, m.fake.Calls())
	spec := m.fake.Spec("zz")
	require.Equal(t, 0.5, spec.Resources.CPU)
	require.Equal(t, config.GiB, spec.Resources.Memory)
	require.Equal(t, int64(99), spec.Resources.Pids)
	require.True(t, spec.Network.LAN && !spec.Network.BlockAll)
	require.Equal(t, config.Never, spec.Automation.AutoDelete)
	require.Equal(t, []config.Mount{{Source: "/src/app", Target: "/w", Mode: "rw"}, {Source: "/src/it's mine", Target: "/x", Mode: "ro"}}, spec.Mounts)
	require.Equal(t, config.EnvVar{Value: "b c"}, spec.Env["A"])
	require.Equal(t, "ml", spec.Labels["team"])
}

func TestProfileIsFoundByTyping(t *testing.T) {
	m := newModel(t, 120, 40)
	m.key("n")
	m.see("reading the profiles")
	m.typed("pyt") // before they are there
	m.run()
	m.see("$ cove create -p python")
	m.key("ctrl+u")
	m.typed("own toolchain") // by what it is for
	m.see("$ cove create -p python")
	m.key("ctrl+u")
	m.typed("/etc/cove") // and by where it comes from
	m.see("$ cove create -p node")
	m.key("ctrl+u")
	m.typed("nothing like it")
	m.see("nothing has that in its name or description")
	m.key("enter")
	m.run()
	require.Empty(t, m.fake.Calls())
	m.key("ctrl+u")
	m.typed("mine")
	m.see("unknown key")
	m.key("enter")
	m.run()
	require.Empty(t, m.fake.Calls())
}

func TestEnterBeforeTheProfilesAreThere(t *testing.T) {
	m := newModel(t, 80, 24)
	m.key("n", "enter")
	m.run()
	require.Equal(t, []string{"create  shell"}, m.fake.Calls())
	m.see("> quiet-otter-1")
}

func TestFormSaysWhatIsWrongWhileItIsTyped(t *testing.T) {
	m := newModel(t, 100, 30, fleet(noon())...)
	m.key("n")
	m.run()
	fields := []struct{ id, typed, say string }{
		{fieldName, "Bad", "may only have a-z, 0-9 and hyphens"},
		{fieldName, "fix-auth", "the name is taken"},
		{fieldCPU, "two", "is no number of cores"},
		{fieldCPU, "9999999", "cores"},
		{fieldMemory, "4G", `bad size "4G"`},
		{fieldPids, "-3", "is no number of processes"},
		{fieldPids, "3", "want 32 to"},
		{fieldMounts, "/src", "does not name a source and a target"},
		{fieldMounts, "/nowhere:/x", "there is no directory /nowhere"},
		{fieldEnv, "A B=1", "is no name of a variable"},
		{fieldEnv, "TOKEN", "TOKEN is not set in your environment: type TOKEN=VALUE here"},
		{fieldLabels, "x", "has no ="},
	}
	for _, f := range fields {
		m.app.form.form.FocusOn(f.id)
		m.typed(f.typed)
		m.run()
		m.see(f.say)
		m.key("enter")
		m.run()
		require.Empty(t, m.fake.Calls(), "created with %q in %s", f.typed, f.id)
		m.key("ctrl+u")
		m.run()
	}
	m.key("enter")
	m.run()
	require.Equal(t, []string{"create  shell"}, m.fake.Calls())
}

// What a preview found of answers that have changed since then keeps nobody
// from going on.
func TestEnterDoesNotWaitForAPreview(t *testing.T) {
	m := newModel(t, 100, 30)
	m.key("n")
	m.run()
	m.app.form.form.FocusOn(fieldMounts)
	m.typed("/nowhere:/x")
	m.run()
	m.see("there is no directory")
	m.key("ctrl+u")
	m.typed("/src/app:/x")
	m.key("enter")
	m.run()
	require.Equal(t, []string{"create  shell"}, m.fake.Calls())
}

func TestMountsAreCompleted(t *testing.T) {
	m := newModel(t, 100, 30)
	m.key("n")
	m.run()
	m.app.form.form.FocusOn(fieldMounts)
	m.typed("/sr")
	m.run()
	m.see("/src/app/")
	m.see("tab completes")
	m.key("tab")
	m.run()
	m.typed(":/w")
	m.run()
	m.see("--mount /src/app/:/w")
	m.key("tab") // nothing to complete: the next field
	require.Equal(t, fieldVolumes, m.app.form.form.Focus())
}

func TestProfilesMountsStayWhenOneIsAdded(t *testing.T) {
	m := newModel(t, 120, 40)
	m.key("n")
	m.run()
	m.typed("agent")
	m.run()
	m.see("AGENT_KEY is not set in your environment")
	m.gone("--mount")
	m.app.form.form.FocusOn(fieldMounts)
	m.typed("/src/b:/b")
	m.run()
	m.see("--mount /src/app:/workspace:rw --mount /src/b:/b")
	m.key("ctrl+u", "up", "ctrl+u")
	m.run()
	m.see("can be replaced, not left out")
	m.app.form.form.FocusOn(fieldEnv)
	m.typed("AGENT_KEY=x")
	m.run()
	m.gone("is not set")
	m.see("the profile sets")
	m.see("AGENT_KEY, MODE")
}

func TestCreateRefusedKeepsWhatWasTyped(t *testing.T) {
	m := newModel(t, 80, 24, fleet(noon())...)
	long := strings.Repeat("the kernel said no. ", 100)
	m.fake.RefuseCreate = func(string) error { return errors.New(long) }
	m.key("n")
	m.run()
	m.key("tab")
	m.typed("new-1")
	m.run()
	m.key("enter")
	m.see("creating…")
	m.key("x", "backspace", "down", "enter") // nothing changes under way
	m.send(tea.PasteMsg{Content: "zz"})
	m.see("-n new-1")
	m.run()
	m.see("the kernel said no")
	m.see("-n new-1")
	m.key("ctrl+o")
	m.see("$ cove create -p shell -n new-1")
	m.key("end")
	m.see("of ")
	m.key("esc")
	m.key("backspace")
	m.typed("2")
	m.gone("the kernel said no")
	m.fake.RefuseCreate = nil
	m.key("enter")
	m.run()
	m.see("> new-2")
}

func TestRefusalLandsOnItsField(t *testing.T) {
	for id, err := range map[string]error{
		fieldName:   &api.Error{Code: api.CodeExists, Message: "somebody else has that name"},
		fieldMemory: &api.Error{Code: api.CodeInvalid, Message: "x", Problems: []config.Problem{{Key: "resources.memory", Message: "more than the machine has", Hint: "it has 8GiB"}}},
		fieldMounts: &config.ProfileError{Problems: []config.Problem{{File: "--mount", Message: "it is gone"}}},
		fieldDelete: &api.Error{Code: api.CodeUnsupported, Message: "x", Problems: []config.Problem{{Key: "automation.auto_delete", Message: "not here"}}},
	} {
		m := newModel(t, 100, 30, fleet(noon())...)
		m.fake.RefuseCreate = func(string) error { return err }
		m.key("n")
		m.run()
		m.key("enter")
		m.run()
		require.Equal(t, id, m.app.form.form.Focus())
		require.NotEmpty(t, m.app.form.form.Said(id).Text)
		m.see(m.app.form.form.Said(id).Text)
		m.key("x") // and goes with what is typed next
		require.NotIn(t, []string{"more than the machine has; it has 8GiB"}, m.app.form.form.Said(id).Text)
	}
}

func TestLeavingTheForm(t *testing.T) {
	m := newModel(t, 80, 24, fleet(noon())...)
	m.key("n")
	m.run()
	m.key("esc") // nothing typed: nothing asked
	m.gone("New sandbox")
	m.key("n")
	m.run()
	m.key("tab", "x", "esc")
	m.see("Leave the form?")
	m.key("enter") // the default is to stay
	m.see("New sandbox")
	m.see("-n x")
	m.key("esc", "y")
	m.gone("New sandbox")
	m.key("n")
	m.run()
	m.gone("-n x")
}

// A create that is left to the daemon goes on; when it fails, the form comes
// back as it was left.
func TestCreateLeftToTheDaemon(t *testing.T) {
	m := newModel(t, 80, 24, fleet(noon())...)
	m.key("n")
	m.run()
	m.key("enter", "esc")
	m.gone("New sandbox")
	m.run()
	m.see("created quiet-otter-1")
	m.see("> fix-auth") // the person has gone on
	m.fake.RefuseCreate = func(string) error { return errors.New("the disk is full") }
	m.key("n")
	m.run()
	m.key("tab")
	m.typed("mine")
	m.key("enter", "esc")
	m.run()
	m.see("✗ create mine: the disk is full")
	m.key("n")
	m.run()
	m.see("-n mine")
	m.see("the disk is full")
	m.fake.RefuseCreate = nil
	m.key("enter")
	m.run()
	m.see("> mine")
}

func TestCreateAndAttach(t *testing.T) {
	m := newModel(t, 80, 24, fleet(noon())...)
	m.key("n")
	m.run()
	m.key("tab")
	m.typed("zz")
	m.key("alt+enter")
	m.runUntil(func() bool { return m.app.attach != nil })
	require.Equal(t, "zz", m.app.attach.name)
	m.see("> zz")
}

func TestCreateNow(t *testing.T) {
	m := newModel(t, 80, 24, fleet(noon())...)
	m.key("N")
	m.run()
	m.see("> quiet-otter-1")
	m.key("n")
	m.run()
	m.key("down", "enter")
	m.run()
	m.key("N")
	m.run()
	m.see("> quiet-otter-3")
	require.Equal(t, []string{"create  shell", "create  python", "create  python"}, m.fake.Calls())
	m.fake.RefuseCreate = func(string) error { return errors.New("no") }
	m.key("N")
	m.run()
	m.see("✗ create from python: no")
}

func TestProfilesThatCannotBeRead(t *testing.T) {
	m := newModel(t, 80, 24)
	m.key("n")
	m.send(profilesMsg{form: m.app.form, err: errors.New("profiles: permission denied")})
	m.see("profiles: permission denied")
	m.key("x")
	m.see("profiles: permission denied")
	m.key("enter")
	m.cmds = nil
	m.send(profilesMsg{form: m.app.form})
	m.see("there is no profile")
	m.key("ctrl+u", "esc")
	m.gone("New sandbox")
	m.send(profilesMsg{form: newCreateForm(m.app)}) // too late
	m.gone("New sandbox")
	require.Empty(t, m.fake.Calls())
}

func TestPasteGoesIntoTheField(t *testing.T) {
	m := newModel(t, 100, 30)
	m.send(tea.PasteMsg{Content: "D"}) // the list has no use for it
	m.key("n")
	m.run()
	m.key("tab")
	m.send(tea.PasteMsg{Content: "pasted-\x1b[31mname\r\n"})
	m.see("-n pasted-name")
	m.app.form.form.FocusOn(fieldEnv)
	m.send(tea.PasteMsg{Content: "A=1\nB=two words\n"})
	m.see("--env A=1 --env 'B=two words'")
}

func TestFormTakesTheMouse(t *testing.T) {
	m := newModel(t, 100, 30, fleet(noon())...)
	m.key("n")
	m.run()
	line, y := m.screen().Line("untrusted  ")
	click := func(x, y int) { m.send(tea.MouseClickMsg{X: x, Y: y, Button: tea.MouseLeft}) }
	click(len([]rune(line[:strings.Index(line, "untrusted")])), y)
	m.run()
	m.see("$ cove create -p untrusted")
	m.send(tea.MouseWheelMsg{Button: tea.MouseWheelUp})
	m.see("$ cove create -p node")
	m.run()
	line, y = m.screen().Line("open + LAN")
	click(len([]rune(line[:strings.Index(line, "open + LAN")]))+2, y)
	m.see("--block-all=false --lan")
	require.Equal(t, fieldNetwork, m.app.form.form.Focus())
}

func TestSlowWorkIsShown(t *testing.T) {
	m := newModel(t, 100, 24, fleet(noon())...)
	m.key("s")
	m.gone("◐ stop fix-auth")
	m.now = m.now.Add(workDelay)
	m.send(workMsg{})
	m.see("◐ stop fix-auth…")
	m.now = m.now.Add(3 * time.Second)
	m.send(tickMsg{})
	m.see("◐ stop fix-auth… 3s")
	m.key("j", "s")
	m.now = m.now.Add(time.Second)
	m.send(tickMsg{})
	m.see("◐ 2 under way… 4s")
	m.run()
	m.gone("under way…")
}

func TestCopying(t *testing.T) {
	m := newModel(t, 100, 30, fleet(noon())...)
	copied := func() string {
		t.Helper()
		cmd := m.cmds[len(m.cmds)-1]
		m.cmds = nil
		return strings.TrimSpace(require.String(cmd()))
	}
	m.key("n")
	m.run()
	m.key("ctrl+y")
	require.Equal(t, "cove create -p shell", copied())
	m.key("esc")
	m.send(doneMsg{id: "a1", name: "fix-auth", verb: "stop", err: &api.Error{Code: api.CodeConflict, Message: "it hangs", Hint: "wait"}})
	m.key("e")
	m.see("y copies")
	m.key("y")
	require.Equal(t, "stop fix-auth: it hangs (wait)\n\n$ cove stop fix-auth", copied())
	m.see("copied, where the terminal allows it")
	m.key("esc", "a", "y")
	require.Contains(t, copied(), "$ cove stop fix-auth")
}
