package tui

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"cove/config"
	"cove/runtime/api"
	"cove/runtime/lifecycle"
	"cove/tui/tuitest"
)

// The test binary is also the program that the terminal tests run: with
// COVE_TUI_TEST set it shows the real interface over a daemon in memory.
const programEnv = "COVE_TUI_TEST"

func TestMain(m *testing.M) {
	if kind := os.Getenv(programEnv); kind != "" {
		os.Exit(program(kind))
	}
	os.Exit(m.Run())
}

// program runs the interface. kind chooses the daemon: "list" has sandboxes,
// "empty" none, "refuse" refuses to attach, "many" has a thousand, "panic"
// panics in a command, "show" is for looking at it.
func program(kind string) int {
	now := time.Now
	fake := tuitest.NewFake(now, fleet(now())...)
	switch kind {
	case "empty":
		fake = tuitest.NewFake(now)
	case "refuse":
		fake.RefuseAttach = &api.Error{Code: api.CodeUnavailable, Message: "the sandbox does not answer", Hint: "cove restart it"}
	case "many":
		fake = tuitest.NewFake(now, crowd(now(), 1000)...)
	case "quiet":
		fake = tuitest.NewFake(now, fleet(now().Add(-time.Hour))...) // no age in seconds
		fake.Past = 20                                               // and no graph that grows
	case "show":
		fake.Delay = 700 * time.Millisecond
		fake.Load = tuitest.Wave
		fake.SetStores(kept(now()))
	}
	var backend Backend = fake
	if kind == "panic" {
		backend = panicking{fake}
	}
	err := Run(context.Background(), Options{
		Backend: backend, Images: fake, Snapshots: fake, Volumes: fake, Builds: fake, Changes: fake, Profiles: profiles(), ValidName: config.ValidName, Environ: os.Environ(), Sort: byName,
	})
	fmt.Printf("calls: %v\n", fake.Calls())
	if err != nil {
		fmt.Fprintln(os.Stderr, "cove:", err)
		return 1
	}
	return 0
}

type panicking struct{ *tuitest.Fake }

func (panicking) Attach(context.Context, string, api.AttachRequest) (io.ReadWriteCloser, error) {
	panic("on purpose")
}

// profiles are those of the tests, one of them broken. Flags go over them as
// they do with the real ones.
func profiles() Profiles {
	all := []Profile{
		{Name: "shell", Description: "A shell on this machine's own system", Source: "built-in"},
		{Name: "python", Description: "Python on this machine's own toolchain", Source: "built-in"},
		{Name: "node", Description: "Node.js", Source: "/etc/cove/profiles/node.toml"},
		{Name: "untrusted", Description: "Small limits, no network, deleted when it stops", Source: "built-in"},
		{Name: "agent", Description: "An agent with its project and its key", Source: ".cove/agent.toml"},
		{Name: "mine", Err: errors.New(`mine.toml:3: unknown key "memroy", do you mean "memory"?`)},
	}
	texts := fstest.MapFS{
		"untrusted.toml": {Data: []byte("[resources]\ncpu = 1.0\nmemory = \"512MiB\"\npids = 256\n[network]\nblock_all = true\n[automation]\nauto_delete = \"0\"\n")},
		"agent.toml":     {Data: []byte("[env]\nAGENT_KEY = { from = \"env\" }\nMODE = \"quick\"\n[[mounts]]\nsource = \"/src/app\"\ntarget = \"/workspace\"\nmode = \"rw\"\n")},
	}
	for _, name := range []string{"shell", "python", "node"} {
		texts[name+".toml"] = &fstest.MapFile{Data: []byte("[network]\nblock_all = true\n")}
	}
	from := &config.Profiles{Dir: "/src", BuiltIn: texts}
	resolve := func(name string, flags []Flag) (*config.Profile, error) {
		p, err := from.Resolve(name)
		for _, f := range flags {
			if err == nil {
				err = p.Override(f.Name, f.Values...)
			}
		}
		return p, err
	}
	return Profiles{
		List: func(context.Context) ([]Profile, error) { return all, nil },
		Resolve: func(_ context.Context, name string, flags []Flag) (config.Spec, error) {
			p, err := resolve(name, flags)
			if err != nil {
				return config.Spec{}, err
			}
			return p.Spec, nil
		},
		Preview: func(_ context.Context, name string, flags []Flag) (Preview, error) {
			base, err := resolve(name, nil)
			if err != nil {
				return Preview{}, err
			}
			out := Preview{Base: base.Spec}
			p, err := resolve(name, flags)
			var wrong *config.ProfileError
			if errors.As(err, &wrong) {
				out.Problems = wrong.Problems
				return out, nil
			}
			out.Problems = p.Spec.Validate()
			for i, m := range p.Spec.Mounts {
				if !strings.HasPrefix(m.Source, "/src") {
					out.Problems = append(out.Problems, config.Problem{Key: fmt.Sprintf("mounts[%d].source", i), Message: "there is no directory " + m.Source})
				}
			}
			_, out.Missing = p.Spec.Secrets(func(string) (string, bool) { return "", false })
			return out, nil
		},
		Dirs: func(_ context.Context, typed string) string {
			if rest, ok := strings.CutPrefix("/src/app/", typed); ok {
				return rest
			}
			return ""
		},
	}
}

// fleet is a list with something of everything.
func fleet(now time.Time) []api.Sandbox {
	at := func(d time.Duration) *time.Time { t := now.Add(-d); return &t }
	const day = 24 * time.Hour
	return []api.Sandbox{
		{ID: "a1", Name: "fix-auth", State: lifecycle.Started, Profile: "python", Image: "host", Created: *at(3 * day), Started: at(134 * time.Minute)},
		{ID: "a2", Name: "gen-docs", State: lifecycle.Started, Profile: "node", Image: "docker.io/library/node:22-slim", Created: *at(26 * time.Hour), Started: at(42 * time.Second),
			Warnings: []string{"memory is not limited: this host has no memory controller"}},
		{ID: "a3", Name: "old-demo", State: lifecycle.Stopped, Profile: "shell", Image: "host", Created: *at(40 * day), Stopped: at(day), Reason: &lifecycle.Reason{Kind: lifecycle.ReasonUser}},
		{ID: "a4", Name: "flaky-ci", State: lifecycle.Error, Profile: "go", Image: "host", Created: *at(5 * time.Hour),
			Reason: &lifecycle.Reason{Kind: lifecycle.ReasonFailed, Detail: "start: runc: container process is already dead: exit status 1"}},
		{ID: "a5", Name: "wheel-cache", State: lifecycle.PullingSnapshot, Profile: "python", Image: "docker.io/library/python:3.13", Created: *at(4 * time.Second)},
		{ID: "a6", Name: "spike", State: lifecycle.Stopped, Profile: "untrusted", Image: "host", Created: *at(2 * time.Hour), Stopped: at(time.Hour), Reason: &lifecycle.Reason{Kind: lifecycle.ReasonOOM}},
		{ID: "a7", Name: "trainer", State: lifecycle.Stopping, Profile: "python", Image: "host", Created: *at(9 * day), Started: at(8 * day)},
	}
}

// strange is a list with everything that could shear a screen, or act on it.
func strange(now time.Time) []api.Sandbox {
	started := now.Add(-time.Hour)
	var out []api.Sandbox
	for i, s := range []string{
		"日本語の名前のとても長いサンドボックスである", "e\u0301e\u0301e\u0301 combining", "👩‍🚀👨‍👩‍👧‍👦🇩🇪 emoji", "שלום עולם rtl", "\x1b[31mred\x1b[2J\x07", "tab\tnew\nline\r",
		"\u202eoverride", "ｗｉｄｅ", "\xff\xfe broken", strings.Repeat("long-", 30), "z\u0335\u0321a\u0334l\u0336g\u0338o",
	} {
		b := api.Sandbox{ID: fmt.Sprintf("s%02d", i), Name: s, State: lifecycle.Started, Profile: s, Image: s, Created: started, Started: &started,
			Labels: map[string]string{s: s}, Warnings: []string{s}}
		if i%2 == 1 {
			b.State, b.Reason = lifecycle.Error, &lifecycle.Reason{Kind: lifecycle.ReasonFailed, Detail: s + " " + s}
		}
		out = append(out, b)
	}
	return out
}

// crowd is n sandboxes.
func crowd(now time.Time, n int) []api.Sandbox {
	states := []lifecycle.State{lifecycle.Started, lifecycle.Started, lifecycle.Stopped, lifecycle.Error, lifecycle.Starting}
	out := make([]api.Sandbox, n)
	for i := range out {
		started := now.Add(-time.Duration(i) * time.Minute)
		out[i] = api.Sandbox{ID: fmt.Sprintf("c%04d", i), Name: fmt.Sprintf("box-%04d", i), State: states[i%len(states)],
			Profile: "python", Image: "docker.io/library/python:3.13-slim", Created: started.Add(-time.Hour), Started: &started}
		if out[i].State == lifecycle.Error {
			out[i].Reason = &lifecycle.Reason{Kind: lifecycle.ReasonFailed, Detail: "start: no space left on device"}
		}
	}
	return out
}
