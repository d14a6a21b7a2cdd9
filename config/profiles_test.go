package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// house is a set of directories with profiles in them.
func house(t *testing.T, files map[string]string) *Profiles {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		noError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		noError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	return &Profiles{
		Dir:       filepath.Join(root, "work"),
		UserDir:   filepath.Join(root, "user"),
		SystemDir: filepath.Join(root, "etc"),
		BuiltIn:   builtIn(),
	}
}

func described(by string) string { return "description = \"" + by + "\"\nextends = \"base\"\n" }

func TestLookUpOrder(t *testing.T) {
	all := []struct {
		file string
		kind SourceKind
	}{
		{"work/.cove/shell.toml", SourceProject},
		{"user/profiles/shell.toml", SourceUser},
		{"etc/profiles/shell.toml", SourceSystem},
	}
	files := map[string]string{}
	for _, f := range all {
		files[f.file] = described(f.file)
	}
	p := house(t, files)
	for _, f := range all {
		got, err := p.Resolve("shell")
		noError(t, err)
		noError(t, got.Check())
		equal(t, f.file, got.Spec.Description)
		equal(t, f.kind, got.Source.Kind)
		equal(t, "shell", got.Spec.Profile)
		noError(t, os.Remove(filepath.Join(filepath.Dir(p.Dir), f.file)))
	}
	got, err := p.Resolve("shell")
	noError(t, err)
	equal(t, Source{Kind: SourceBuiltIn}, got.Source)
	equal(t, "built-in", got.Source.String())
}

func TestResolveByPath(t *testing.T) {
	p := house(t, map[string]string{
		"work/cove.toml":     described("the project"),
		"work/sub/a.toml":    "extends = \"../b.toml\"\n",
		"work/b.toml":        "extends = \"shell\"\nlanguage = \"go\"\n",
		"other/outside.toml": described("outside"),
	})
	for _, name := range []string{"./cove.toml", "cove.toml", filepath.Join(p.Dir, "cove.toml"), "sub/../cove.toml"} {
		got, err := p.Resolve(name)
		noError(t, err, name)
		equal(t, Source{SourceFile, "cove.toml"}, got.Source)
		equal(t, "cove.toml", got.Spec.Profile)
	}
	got, err := p.Resolve("sub/a.toml")
	noError(t, err)
	equal(t, "go", got.Spec.Language)
	equal(t, "", got.Spec.Description, "a description is not inherited")
	got, err = p.Resolve("../other/outside.toml")
	noError(t, err)
	equal(t, filepath.Join(filepath.Dir(p.Dir), "other/outside.toml"), got.Source.Path)
}

func TestNotFound(t *testing.T) {
	p := house(t, map[string]string{"user/profiles/claude.toml": described("x")})
	for name, want := range map[string]string{
		"shel":        `there is no profile "shel"; did you mean "shell"?`,
		"cluade":      `there is no profile "cluade"; did you mean "claude"?`,
		"zzzz":        `there is no profile "zzzz"; "cove profile ls" lists them`,
		"":            `there is no profile ""; "cove profile ls" lists them`,
		"..":          `there is no profile ".."; "cove profile ls" lists them`,
		"a\x1b]0;x":   `there is no profile "a\x1b]0;x"; "cove profile ls" lists them`,
		"./gone.toml": `there is no file "./gone.toml"; "cove profile ls" lists the profiles that have a name`,
	} {
		_, err := p.Resolve(name)
		var none *NoProfileError
		if !errors.As(err, &none) || !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("%q: %v", name, err)
		}
		equal(t, want, err.Error())
	}
}

// The project's files are never picked unasked: they may be a stranger's.
func TestDefaultIsNeverTheProjects(t *testing.T) {
	p := house(t, map[string]string{
		"work/cove.toml":        described("the project's"),
		"work/.cove/shell.toml": described("the project's"),
		"work/.cove/base.toml":  "[network]\nask = true\nblock_all = false\n",
		"work/.cove/own.toml":   described("the project's"),
	})
	got, err := p.Default(DefaultSettings())
	noError(t, err)
	noError(t, got.Check())
	equal(t, "a shell", got.Spec.Description)
	equal(t, SourceBuiltIn, got.Source.Kind)
	_, err = p.Default(Settings{DefaultProfile: "own"})
	wantError(t, err, `default profile: there is no profile "own"`)
	// Asked for by name, the order is that of the look-up.
	got, err = p.Resolve("own")
	noError(t, err)
	wantError(t, got.Check(), ".cove/base.toml:3:1: network.block_all: it is not trusted, and uses the network; to be told all, and to trust it: cove trust .cove/own.toml")
}

// What is in a project cannot get under a profile of the user's or the machine's.
func TestExtendsLooksDownwards(t *testing.T) {
	p := house(t, map[string]string{
		"work/.cove/base.toml":     "description = \"evil\"\nuser = \"evil\"\n[network]\nblock_all = true\n",
		"work/.cove/mine.toml":     described("mine"),
		"user/profiles/claude.tmp": "not a profile",
		"user/profiles/claude.toml": described("claude") +
			"[env]\nB = \"user\"\n",
		"user/profiles/shell.toml": "extends = \"shell\"\n[env]\nA = \"user\"\n",
		"etc/profiles/shell.toml":  "extends = \"shell\"\n[env]\nC = \"etc\"\n",
	})
	got, err := p.Resolve("claude")
	noError(t, err)
	equal(t, "dev", got.Spec.User)
	got, err = p.Resolve("mine")
	noError(t, err)
	equal(t, "evil", got.Spec.User, "a project's profile may extend the project's")
	// A profile may extend the one it shadows.
	got, err = p.Resolve("shell")
	noError(t, err)
	equal(t, map[string]EnvVar{"A": {Value: "user"}, "C": {Value: "etc"}, "PATH": {Value: "/bin"}}, got.Spec.Env)
	equal(t, "bash", got.Spec.Language)
}

func TestMerge(t *testing.T) {
	p := house(t, map[string]string{
		"user/profiles/one.toml": `
description = "one"
extends = "base"
command = ["agent", "-x"]
install = "get it"
git = { name = "N", identity = false }
shell = ["/bin/sh", "-l", "-i"]
setup = ["a", "b"]
[resources]
cpu = 1
memory = "1GiB"
[env]
X = { from = "env" }
Y = "one"
[labels]
a = "1"
[[ports]]
port = 1
public = true
[[ports]]
port = 2
[[mounts]]
source = "src"
target = "/src"
mode = "cow"
`,
		"user/profiles/two.toml": `
extends = "one"
shell = ["/bin/zsh"]
setup = []
resources.memory = 1073741825
env.Y = { from = "env" }
env.X = "two"
labels = { b = "2" }
ports = [{ port = 3 }]
[resources.x]
`,
		"user/profiles/three.toml": `
extends = "one"
shell = ["/bin/zsh"]
setup = []
resources = { memory = 1073741825, cpu = 1.5, gpu = ["0", "GPU-1"] }
env.Y = { from = "env" }
env.X = "two"
env.Z = { from = "env", optional = true }
git.email = "e@example.org"
labels = { b = "2" }
ports = [{ port = 3 }]
automation.auto_delete = 0
`,
	})
	_, err := p.Resolve("two")
	wantError(t, err, "user/profiles/two.toml:10:2: resources.x: unknown key")
	got, err := p.Resolve("three")
	noError(t, err)
	want := Defaults()
	want.Profile = "three"
	want.NoNewPrivileges = false
	want.Shell = []string{"/bin/zsh"}
	want.Resources.CPU = 1.5
	want.Resources.Memory = GiB + 1
	want.Resources.GPU = GPURequest{IDs: []string{"0", "GPU-1"}}
	want.Network.BlockAll = true
	want.Env = map[string]EnvVar{"PATH": {Value: "/bin"}, "A": {Value: "base"}, "X": {Value: "two"}, "Y": {From: "env"}, "Z": {From: "env", Optional: true}}
	want.Command, want.Install = []string{"agent", "-x"}, "get it"
	want.Git = Git{Name: "N", Email: "e@example.org"}
	want.Labels = map[string]string{"from": "base", "a": "1", "b": "2"}
	want.Ports = []Port{{Port: 3}}
	want.Mounts = []Mount{{Source: filepath.Join(p.Dir, "src"), Target: "/src", Mode: "cow"}}
	want.Automation.AutoDelete = 0
	equal(t, want, got.Spec)
	equal(t, true, got.Spec.Automation.Ephemeral())

	// The places of what is inherited are those of the file it is in.
	err = got.Check()
	wantError(t, err, "user/profiles/three.toml:11:1: ports: this build cannot enforce")
	equal(t, []string{"Y", "Z"}, got.Spec.FromCaller())
}

// The steps of setup count on those of the profile that is extended: they come
// behind them, and each is told of where it is written.
func TestSetupAddsUp(t *testing.T) {
	p := house(t, map[string]string{
		"user/profiles/one.toml":   "extends = \"base\"\nsetup = [\"a\",\n \"b\"]\n",
		"user/profiles/two.toml":   "extends = \"one\"\n",
		"user/profiles/three.toml": "extends = \"two\"\nsetup = [\"c\"]\n",
		"user/profiles/none.toml":  "extends = \"one\"\nsetup = []\n",
		"user/profiles/new.toml":   "extends = \"none\"\nsetup = [\"d\"]\n",
		"user/profiles/bad.toml":   "extends = \"base\"\nsetup = [\"a\",\n \"b\\u0000\"]\n",
		"user/profiles/worse.toml": "extends = \"bad\"\n\nsetup = [\"c\",\n \"d\\u0000\"]\n",
		"user/profiles/type.toml":  "extends = \"one\"\nsetup = \"c\"\n",
	})
	for name, want := range map[string][]string{
		"one": {"a", "b"}, "two": {"a", "b"}, "three": {"a", "b", "c"}, "none": nil, "new": {"d"},
	} {
		got, err := p.Resolve(name)
		noError(t, err, name)
		equal(t, want, got.Spec.Setup, name)
	}
	got, err := p.Resolve("worse")
	noError(t, err)
	err = got.Check()
	wantError(t, err, "user/profiles/bad.toml:3:2: setup[1]: it contains a NUL")
	wantError(t, err, "user/profiles/worse.toml:4:2: setup[3]: it contains a NUL")
	_, err = p.Resolve("type")
	wantError(t, err, "user/profiles/type.toml:2:1: setup: ")
}

func TestCircles(t *testing.T) {
	files := map[string]string{
		"user/profiles/a.toml": "extends = \"b\"\n",
		"user/profiles/b.toml": "\nextends = \"c\"\n",
		"user/profiles/c.toml": "extends = \"a\"\n",
		"user/profiles/d.toml": "extends = \"a\"\n",
		"work/x.toml":          "extends = \"sub/y.toml\"\n",
		"work/sub/y.toml":      "extends = \"../x.toml\"\n",
		"etc/profiles/me.toml": "extends = \"me\"\n",
	}
	long := "abcdefghijklmnopqrstuvwxyz"
	for i := range len(long) - 1 {
		files["etc/profiles/long-"+long[i:i+1]+".toml"] = "extends = \"long-" + long[i+1:i+2] + "\"\n"
	}
	p := house(t, files)
	for name, want := range map[string]string{
		"a":      "c.toml:1:1: extends: it is a circle: a -> b -> c -> a",
		"d":      "c.toml:1:1: extends: it is a circle: a -> b -> c -> a",
		"x.toml": "sub/y.toml:1:1: extends: it is a circle: x.toml -> y.toml -> x.toml",
		"me":     "me.toml:1:1: extends: there is no profile \"me\"",
		"long-a": "long-p.toml:1:1: extends: the chain is longer than 16 profiles",
	} {
		_, err := p.Resolve(name)
		wantError(t, err, want, name)
		var problems *ProfileError
		if !errors.As(err, &problems) {
			t.Fatalf("%s: %T", name, err)
		}
	}
}

func TestList(t *testing.T) {
	p := house(t, map[string]string{
		"work/cove.toml":           described("the project"),
		"work/.cove/shell.toml":    described("project's shell"),
		"user/profiles/shell.toml": described("user's shell"),
		"user/profiles/broken.toml": "x = 1\n" +
			"[network]\nblock_all = true\n",
		"user/profiles/open.toml":        "description = \"open\"\nnetwork.ask = true\n",
		"user/profiles/.hidden.toml":     "",
		"user/profiles/a b.toml":         "",
		"user/profiles/note.txt":         "",
		"user/profiles/d.toml/x":         "",
		"etc/profiles/bad\x1b[2Jnm.toml": "",
	})
	entries, err := p.List()
	noError(t, err)
	var got []string
	for _, e := range entries {
		line := e.Name + " | " + e.Description + " | " + filepath.ToSlash(strings.TrimPrefix(e.Source.String(), filepath.Dir(p.Dir)+"/"))
		if e.Shadowed {
			line += " | shadowed"
		}
		if e.Err != nil {
			line += " | " + strings.ReplaceAll(e.Err.Error(), filepath.Dir(p.Dir)+"/", "")
		}
		got = append(got, line)
	}
	equal(t, []string{
		"./cove.toml | the project | cove.toml",
		"base | the base | built-in",
		"broken |  | user/profiles/broken.toml | user/profiles/broken.toml:1:1: x: unknown key; valid here: automation, command, description, env, extends, git, image, install, labels, language, mounts, network, no_new_privileges, ports, resources, runtime, setup, shell, user, volumes, workdir",
		"open | open | user/profiles/open.toml | user/profiles/open.toml:2:1: network.ask: this build cannot enforce true; set it to false",
		"shell | project's shell | .cove/shell.toml",
		"shell | user's shell | user/profiles/shell.toml | shadowed",
		"shell | a shell | built-in | shadowed",
	}, got)
	for _, e := range entries {
		if !e.Shadowed && e.Err == nil {
			r, err := p.Resolve(e.Name)
			noError(t, err, e.Name)
			equal(t, e.Source, r.Source)
		}
	}

	empty, err := (&Profiles{}).List()
	noError(t, err)
	equal(t, 0, len(empty))
}

// A file that is there and cannot be used is an error: what it shadows must not
// be taken in its place.
func TestUnusableFiles(t *testing.T) {
	p := house(t, map[string]string{
		"work/big.toml":   strings.Repeat("#", maxFile+1),
		"work/dir.toml/x": "",
		"user/profiles/x": "",
	})
	noError(t, syscall.Mkfifo(filepath.Join(p.Dir, "fifo.toml"), 0o600))
	noError(t, syscall.Mkfifo(filepath.Join(p.UserDir, "profiles/shell.toml"), 0o600))
	for name, want := range map[string]string{
		"big.toml":  "longer than 65536 bytes",
		"dir.toml":  "not a regular file",
		"fifo.toml": "not a regular file",
		"shell":     "not a regular file",
	} {
		_, err := p.Resolve(name)
		wantError(t, err, want, name)
		if errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("%s: %v", name, err)
		}
	}
}

func TestUserDir(t *testing.T) {
	for _, c := range []struct{ xdg, home, want string }{
		{"/x", "/home/a", "/x/cove"},
		{"", "/home/a", "/home/a/.config/cove"},
		{"relative", "/home/a", "/home/a/.config/cove"},
		{"", "", ""},
		{"", "relative", ""},
	} {
		got := UserDir(func(name string) string {
			return map[string]string{"XDG_CONFIG_HOME": c.xdg, "HOME": c.home}[name]
		})
		equal(t, c.want, got)
	}
}
