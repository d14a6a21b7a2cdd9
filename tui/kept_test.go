package tui

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"cove/config"
	"cove/runtime/api"
	"cove/runtime/lifecycle"
	"cove/tui/internal/require"
	"cove/tui/tuitest"
)

const sampleDiff = `--- a/src/auth/token.go
+++ b/src/auth/token.go
@@ -10,9 +10,12 @@ func Parse(s string) (Token, error) {
 	if s == "" {
 		return Token{}, ErrEmpty
 	}
-	parts := strings.Split(s, ".")
--- a line that looks like a header
+	parts := strings.SplitN(s, ".", 3)
+	if len(parts) != 3 {
+		return Token{}, fmt.Errorf("token: want 3 parts, got %d", len(parts))
+	}
 	return decode(parts)
 }
`

// kept is something of everything that a daemon keeps.
func kept(now time.Time) tuitest.Stores {
	const day = 24 * time.Hour
	at := func(d time.Duration) time.Time { return now.Add(-d) }
	id := func(n int) string { return fmt.Sprintf("sha256:%x%056x", n*0x12345678, 0) }
	long := sampleDiff
	for i := range 80 {
		long += fmt.Sprintf("+line %d of a long file, %s\n", i, strings.Repeat("wide ", i%30))
	}
	return tuitest.Stores{
		Images: []api.Image{
			{ID: id(1), Ref: "docker.io/library/python:3.13-slim", Platform: "linux/amd64", Size: 131 << 20, Layers: 5, Pulled: at(3 * day), Created: at(20 * day), Used: []string{"wheel-cache", "trainer", "base-1"}},
			{ID: id(2), Ref: "docker.io/library/alpine:latest", Platform: "linux/amd64", Size: 8 << 20, Layers: 1, Pulled: at(90 * time.Minute)},
			{ID: id(3), Platform: "linux/amd64", Size: 131 << 20, Layers: 5, Pulled: at(30 * day)},
		},
		Snapshots: []api.Snapshot{
			{ID: "s1", Name: "claude-base", Image: "host", Created: at(12 * day), Size: 980 << 20, Layers: 3, Used: []string{"fix-auth", "gen-docs"}},
			{ID: "s2", Name: "claude-base-7", Parent: "s1", Sandbox: "fix-auth", Image: "host", Created: at(3 * day), Size: 36 << 20, Layers: 4, Frozen: 0.0123, Copied: 36 << 20},
			{ID: "s3", Name: "before-refactor", Parent: "s2", Sandbox: "fix-auth", Image: "host", Created: at(2 * time.Hour), Size: 1 << 20, Layers: 5, Frozen: 0.004, Copied: 1 << 20},
			{ID: "s4", Name: "py-tools", Image: "docker.io/library/python:3.13-slim", Created: at(day), Size: 212 << 20, Layers: 7},
		},
		Volumes: []api.Volume{
			{Name: "pip-cache", Created: at(9 * day), Quota: 2 * config.GiB, Used: 1900 << 20, Sandboxes: []string{"fix-auth", "trainer"}},
			{Name: "datasets", Created: at(2 * day), Used: 48 << 30},
			{Name: "scratch", Created: at(time.Hour), Quota: 512 * config.MiB, Used: -1},
		},
		Sets: []api.ChangeSet{{Source: "/home/me/src/app", Target: "/workspace", Changes: []api.FileChange{
			{Path: ".git/hooks/pre-commit", Kind: api.ChangeAdded, Type: "file", Mode: "755", Size: 212, Added: 9, Flags: []string{"git", "hook", "executable"}},
			{Path: "docs/old.md", Kind: api.ChangeDeleted, Type: "file", OldSize: 3100, Removed: 88},
			{Path: "go.mod", Kind: api.ChangeModified, Type: "file", Mode: "644", OldMode: "644", Size: 412, OldSize: 399, Added: 1, Conflict: "it changed on this machine at 11:58, after the sandbox got the directory"},
			{Path: "logo.png", Kind: api.ChangeModified, Type: "file", Size: 18000, OldSize: 17000, Binary: true},
			{Path: "run.sh", Kind: api.ChangeMode, Type: "file", Mode: "755", OldMode: "644", Size: 90, OldSize: 90, Flags: []string{"executable"}},
			{Path: "src/auth/token.go", Kind: api.ChangeModified, Type: "file", Mode: "644", OldMode: "644", Size: 2100, OldSize: 1900, Added: 4, Removed: 2},
			{Path: "src/generated.go", Kind: api.ChangeAdded, Type: "file", Mode: "644", Size: 9000, Added: 80},
			{Path: "tmp", Kind: api.ChangeType, Type: "link", OldType: "dir", Link: "/etc", Flags: []string{"link out"}},
		}}},
		Diffs: map[string]string{"src/auth/token.go": sampleDiff, "src/generated.go": long, "go.mod": "--- a/go.mod\n+++ b/go.mod\n@@ -3,1 +3,2 @@\n go 1.26\n+toolchain go1.26.1\n"},
		Log:   []string{"Collecting ruff==99", "ERROR: No matching distribution found for ruff==99", "exit status 1"},
		Pulls: []api.Progress{{Text: "pulling 3 layers", Done: 12 << 20, Total: 40 << 20}},
	}
}

// stocked is a model over a daemon that keeps something of everything.
func stocked(t testing.TB, w, h int) *model {
	m := newModel(t, w, h, fleet(noon())...)
	m.fake.SetStores(kept(noon()))
	return m
}

func TestImagesPage(t *testing.T) {
	m := stocked(t, 120, 30)
	m.key("2")
	m.see("asking the daemon…")
	m.run()
	m.see("Images 3")
	m.see("270M")
	m.key("down")
	m.see("used by wheel-cache, trainer, base-1")
	// Pull: how far it is in bytes, then the image.
	m.key("p")
	m.typed("alpine x")
	m.see("the name of an image has no blanks")
	m.key("backspace", "backspace")
	m.see("$ cove image pull alpine")
	m.key("enter")
	require.Len(t, m.app.pulls, 1)
	pull := m.app.pulls[0]
	pullingMsg{pull, api.Progress{Text: "pulling 3 layers", Done: 12 << 20, Total: 40 << 20}}.deliver(m.app) // what listens on is there already
	m.see("30%  12M of 40M  pulling 3 layers")
	m.run()
	m.see("pulled alpine, 40M   $ cove image pull alpine")
	require.Empty(t, m.app.pulls)
	m.see("Images 4")
	// Prune names what goes.
	m.key("P")
	m.see("Remove 3 images that nothing uses?")
	m.key("y")
	m.run()
	m.see("3 images removed, 179M freed   $ cove image prune")
	m.see("Images 1")
	m.key("P")
	m.see("prune: every image is used by something")
	// A sandbox from it.
	m.key("enter")
	m.run()
	m.see("$ cove create -p shell --image docker.io/library/python:3.13-slim")
	m.key("esc", "y")
	m.see("> fix-auth") // the page has closed
	require.Equal(t, []string{"pull alpine", "prune"}, m.fake.Calls())
}

func TestRemoveImageRefused(t *testing.T) {
	m := stocked(t, 120, 30)
	s := kept(noon())
	s.Refuse = &api.Error{Code: api.CodeConflict, Message: "python is used by trainer"}
	m.fake.SetStores(s)
	m.key("2")
	m.run()
	m.key("down", "D")
	m.see("It is used by wheel-cache, trainer, base-1")
	m.key("y")
	m.run()
	m.see("python is used by trainer")
	m.key("e")
	m.see("$ cove image rm docker.io/library/python:3.13-slim")
	m.key("esc", "esc")
	m.gone("python is used by trainer")
	m.see("Images 3")
	m.key("esc")
	m.gone("Images 3")
}

func TestPullIsBrokenOff(t *testing.T) {
	m := stocked(t, 120, 30)
	m.key("2")
	m.run()
	m.key("x")
	m.see("break off: it is not being pulled")
	m.key("p")
	m.typed("big")
	m.key("enter", "g", "x")
	m.run()
	m.see("pull of big broken off; the next one goes on from there")
	m.see("Images 3")
}

func TestSnapshotAndFork(t *testing.T) {
	m := stocked(t, 120, 30)
	m.key("S")
	m.see("$ cove snapshot create fix-auth fix-auth-0314-120000")
	m.key("ctrl+u")
	m.see("a name is needed")
	m.key("enter")
	m.run()
	require.Empty(t, m.fake.Calls())
	m.typed("good")
	m.key("enter")
	m.run()
	m.see("snapshot good of fix-auth: it stood still for 12.0 ms, 3M copied   $ cove snapshot create fix-auth good")
	m.key("f")
	m.see("$ cove fork fix-auth fix-auth-fork")
	m.key("tab")
	m.typed("0")
	m.see("want a number from 1 to 100")
	m.key("backspace")
	m.typed("3")
	m.see("fix-auth-fork-1 to fix-auth-fork-3")
	m.see("$ cove fork fix-auth fix-auth-fork --count 3")
	m.key("enter")
	m.run()
	m.see("forked fix-auth to fix-auth-fork-1, fix-auth-fork-2, fix-auth-fork-3: it stood still for 12.0 ms, 3M copied")
	m.see("> fix-auth-fork-1")
	require.Equal(t, []string{"snapshot a1", "fork a1"}, m.fake.Calls())
}

// What the daemon refuses stays typed.
func TestForkRefused(t *testing.T) {
	m := stocked(t, 100, 30)
	s := kept(noon())
	s.Refuse = errors.New("there is no space left")
	m.fake.SetStores(s)
	m.key("f", "tab")
	m.typed("7")
	m.key("enter")
	m.run()
	m.see("there is no space left")
	m.see("--count 7")
	m.key("ctrl+o")
	m.see("fork: there is no space left")
	m.key("esc", "esc")
	m.gone("--count 7")
}

// Nobody forks what is not there anymore.
func TestForkOfWhatIsGone(t *testing.T) {
	m := stocked(t, 100, 30)
	m.key("f")
	m.fake.Remove("a1")
	m.sync()
	m.key("enter")
	m.see("no sandbox is selected")
	require.Empty(t, m.fake.Calls())
}

func TestSnapshotsAreATree(t *testing.T) {
	m := stocked(t, 120, 30)
	m.key("3")
	m.run()
	var names []string
	for _, l := range m.screen().Lines {
		for _, n := range []string{"py-tools", "claude-base ", "  └ claude-base-7", "    └ before-refactor"} {
			if strings.Contains(l, n) {
				names = append(names, strings.TrimSpace(n))
			}
		}
	}
	require.Equal(t, []string{"py-tools", "claude-base", "└ claude-base-7", "└ before-refactor"}, names[:4])
	m.key("down", "D")
	m.see("On it are the sandboxes fix-auth, gen-docs, which stay")
	m.see("On it lie the snapshots claude-base-7, which stay as they are.")
	m.key("y")
	m.run()
	m.see("deleted the snapshot claude-base")
	m.see("Snapshots 3")
	require.Equal(t, []string{"snapshot rm claude-base"}, m.fake.Calls())
	m.key("g", "enter")
	m.run()
	m.see("$ cove create -p shell --image snapshot:py-tools")
}

// A tree has every snapshot once, whatever lies on what.
func TestTreeOfWhatLiesOnItself(t *testing.T) {
	all := []api.Snapshot{{ID: "a", Parent: "b"}, {ID: "b", Parent: "a"}, {ID: "c", Parent: "c"}, {ID: "d", Parent: "gone"}, {ID: "e", Parent: "d"}}
	sorted, depth := tree(all)
	require.Len(t, sorted, len(all))
	require.Len(t, depth, len(all))
	seen := map[string]int{}
	for i := range sorted {
		seen[sorted[i].ID]++
	}
	require.Equal(t, map[string]int{"a": 1, "b": 1, "c": 1, "d": 1, "e": 1}, seen)
}

func TestVolumesPage(t *testing.T) {
	m := stocked(t, 120, 30)
	m.key("4")
	m.run()
	m.see("Volumes 3")
	m.key("n")
	m.typed("pip-cache")
	m.see("the name is taken")
	m.key("ctrl+u")
	m.typed("models")
	m.key("tab")
	m.typed("10G")
	m.see("bad size")
	m.typed("iB")
	m.see("$ cove volume create models --quota 10GiB")
	m.key("enter")
	m.run()
	m.see("made the volume models")
	m.see("Volumes 4")
	// To the sandbox that is selected in the list.
	m.key("a")
	m.see("Attach datasets")
	m.key("tab")
	m.typed("data")
	m.see("the directory inside begins with /")
	m.key("home")
	m.typed("/")
	m.key("tab")
	m.typed("train")
	m.key("tab", "right")
	m.see("$ cove volume attach fix-auth datasets:/data:ro --subpath train")
	m.key("enter")
	m.run()
	m.see("attached datasets to fix-auth as /data")
	m.key("D")
	m.see("delete: datasets is attached to fix-auth; x detaches it")
	m.key("x")
	m.see("Detach datasets from fix-auth?")
	m.key("y")
	m.run()
	m.key("D", "y")
	m.run()
	m.see("deleted the volume datasets")
	// Of several it asks from which.
	m.key("down", "x")
	m.see("Detach pip-cache from")
	m.key("down", "enter", "y")
	m.run()
	require.Equal(t, []string{"volume create models 10GiB", "volume attach a1 datasets /data train ro", "volume detach a1 datasets", "volume rm datasets", "volume detach a7 pip-cache"}, m.fake.Calls())
}

func TestPageOfNothing(t *testing.T) {
	m := newModel(t, 80, 24)
	m.key("2")
	m.run()
	m.see("No images yet. p pulls one")
	m.key("enter")
	m.see("new sandbox: nothing is selected")
	m.key("]")
	m.run()
	m.see("No snapshots yet. S in the list")
	m.key("]")
	m.run()
	m.see("No volumes yet.")
	m.key("[", "2")
	m.see("No images yet.")
	m.key("?")
	m.see("cove image pull IMAGE")
}

// What there is nothing behind has no key.
func TestWhatIsNotThereHasNoKey(t *testing.T) {
	o := Options{}
	for _, act := range actions(&o) {
		for _, id := range []string{actChanges, actSnapshot, actFork, actRebuild, actImages, actSnapshots, actVolumes} {
			require.True(t, act.ID != id, "%s is there", id)
		}
	}
}

func TestChangesPage(t *testing.T) {
	m := stocked(t, 140, 36)
	m.key("c")
	m.see("asking what was changed…")
	m.run()
	m.see("8 changes · +94 -90 · /workspace from /home/me/src/app")
	m.see("not applied: it changed on this machine")
	m.see("a new program")
	m.key("down", "down", "down")
	m.see("a binary file: there are no lines to show")
	m.key("down", "down")
	m.run()
	m.see("+    parts := strings.SplitN")
	m.see("--- a line that looks like a header")
	m.key("y")
	cmd := m.cmds[len(m.cmds)-1]
	require.Equal(t, fmt.Sprint(tea.SetClipboard(sampleDiff)()), fmt.Sprint(cmd()))
	// One file.
	m.key("a")
	m.see("Apply src/auth/token.go?")
	m.see("Written to /home/me/src/app, as you.")
	m.see("$ cove apply fix-auth /workspace/src/auth/token.go")
	m.key("enter") // the default is no
	m.key("a", "y")
	m.run()
	m.see("applied src/auth/token.go   $ cove apply fix-auth /workspace/src/auth/token.go")
	m.see("7 changes")
	// All of them: what is flagged is named, what is in conflict stays.
	m.key("*", "a")
	m.see("Apply 6 changes?")
	m.see("Look first at:")
	m.see(".git/hooks/pre-commit: inside .git: git may run it, a hook: git")
	m.see("tmp: a link that leads out")
	m.see("Left out: go.mod (it changed on this machine")
	m.key("y")
	m.run()
	m.see("applied 6 changes")
	m.see("1 change ")
	m.key("a")
	m.see("apply: go.mod (it changed on this machine")
	m.key("x")
	m.see("Discard go.mod?")
	m.key("y")
	m.run()
	m.see("Nothing is changed.")
	require.Equal(t, []string{
		"apply a1 /workspace src/auth/token.go", "apply a1 /workspace .git/hooks/pre-commit docs/old.md logo.png run.sh src/generated.go tmp",
		"discard a1 /workspace go.mod",
	}, m.fake.Calls())
	m.key("esc")
	m.gone("Changes of")
}

func TestChangesOnASmallScreen(t *testing.T) {
	m := stocked(t, 80, 14)
	m.key("c")
	m.run()
	m.key("G", "k")
	m.run()
	m.gone("@@")
	m.key("enter")
	m.see("@@ -10,9")
	m.key("G")
	m.see("+line 79 of a long file")
	m.gone("more lines")
	m.key("g", "pgdown")
	m.see("more lines")
	m.key("right", "right")
	m.gone("+line 1 of")
	m.key("esc")
	m.gone("more lines")
	m.see("> src/generated.go")
}

func TestChangesThatFail(t *testing.T) {
	m := stocked(t, 100, 30)
	s := kept(noon())
	s.Refuse = errors.New("write go.mod: permission denied")
	m.fake.SetStores(s)
	m.key("c")
	m.run()
	m.key("a", "y")
	m.run()
	m.see("✗ apply .git/hooks/pre-commit of fix-auth: write go.mod")
	m.see("8 changes")
	m.key("esc")
	m.gone("write go.mod")
	m.send(changesMsg{m.app.changes, nil, errors.New("the daemon does not answer")})
	m.see("✗ the daemon does not answer")
	m.see("8 changes")
}

// What comes out of a sandbox cannot act on the terminal, nor look like more.
func TestHostileChanges(t *testing.T) {
	m := newModel(t, 120, 30, fleet(noon())...)
	bad := "a\x1b[2J\x1b]52;c;eA==\x07\nb\u202e\xff"
	m.fake.SetStores(tuitest.Stores{
		Sets: []api.ChangeSet{{Source: bad, Target: bad, Changes: []api.FileChange{
			{Path: bad, Kind: api.ChangeModified, Type: "file", Conflict: bad, Flags: []string{bad}}, {Path: bad + "2", Kind: bad, Type: bad, OldType: bad, Mode: bad, OldMode: bad, Link: bad},
		}}},
		Diffs: map[string]string{bad: "@@\n+" + bad + strings.Repeat("x", 1<<20) + "\n\x1b[31m-" + bad},
	})
	m.key("c")
	m.run()
	m.see("> a b")
	for _, k := range []string{"down", "*", "a", "esc", "x", "esc", "enter", "right"} {
		m.key(k)
		m.run()
		for _, l := range strings.Split(m.app.View().Content, "\n") {
			require.False(t, strings.Contains(l, "\x1b[2J") || strings.Contains(l, "\x1b]52") || strings.ContainsAny(l, "\x07\u202e"), "%q", l)
		}
	}
}

func TestRebuild(t *testing.T) {
	m := newModel(t, 120, 30, api.Sandbox{ID: "1", Name: "a", State: lifecycle.BuildFailed, Created: noon(), Reason: &lifecycle.Reason{Kind: lifecycle.ReasonFailed, Detail: "step 2/3: pip install ruff==99: exit status 1"}},
		api.Sandbox{ID: "2", Name: "b", State: lifecycle.Started, Created: noon()})
	m.fake.SetStores(kept(noon()))
	m.key("j", "k")
	m.run()
	m.see("build_failed")
	m.see("ERROR: No matching distribution found")
	m.see("b builds it again")
	m.see("D delete  b rebuild")
	m.key("j", "b")
	m.see("rebuild needs a sandbox that is build_failed; this one is started")
	m.key("k", "b")
	m.run()
	require.Equal(t, []string{"rebuild 1"}, m.fake.Calls())
	m.gone("build_failed")
	m.see("built the snapshot a   $ cove rebuild a")
}

func TestImageIsCompleted(t *testing.T) {
	m := stocked(t, 120, 40)
	m.key("n")
	m.run()
	m.key("tab", "tab")
	m.see("snapshot:claude-base, snapshot:claude-base-7")
	m.typed("py")
	m.see("python:3.13-slim")
	m.see("tab completes")
	m.see("$ cove create -p shell --image py")
	m.key("tab")
	m.see("$ cove create -p shell --image python:3.13-slim")
	m.see("tab next")
	m.key("ctrl+u")
	m.typed("snap")
	m.key("right")
	m.see("--image snapshot:claude-base")
	m.key("tab", "enter")
	m.run()
	require.Equal(t, "snapshot:claude-base", m.fake.Spec("quiet-otter-1").Image)
}

func TestVolumesOfTheForm(t *testing.T) {
	m := stocked(t, 120, 44)
	m.key("n")
	m.run()
	m.app.form.form.FocusOn(fieldVolumes)
	m.see("there are: pip-cache, datasets, scratch")
	m.typed("data")
	m.key("tab")
	m.see("$ cove create -p shell --volume datasets:/datasets")
	m.key("down")
	m.typed("x")
	m.see("does not name a volume and a target")
	m.typed(":/x:rx")
	m.see("the mode is ro or nothing")
	m.key("backspace", "backspace")
	m.typed("ro")
	m.key("enter")
	m.run()
	require.Equal(t, []config.Volume{{Name: "datasets", Target: "/datasets"}, {Name: "x", Target: "/x", ReadOnly: true}}, m.fake.Spec("quiet-otter-1").Volumes)
}
