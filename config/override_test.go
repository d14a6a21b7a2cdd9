package config

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

func resolved(t *testing.T) *Profile {
	t.Helper()
	p, err := (&Profiles{Dir: "/work", BuiltIn: builtIn()}).Resolve("shell")
	noError(t, err)
	noError(t, p.Check())
	return p
}

func TestOverride(t *testing.T) {
	for _, c := range []struct {
		flag   string
		values []string
		want   func(*Spec)
	}{
		// Another system has users, shells and directories of its own.
		{"image", []string{"alpine:3"}, func(s *Spec) {
			s.Image, s.User, s.Shell, s.Workdir = "alpine:3", "", nil, ""
			delete(s.Env, "PATH")
		}},
		{"cpu", []string{"1.5"}, func(s *Spec) { s.Resources.CPU = 1.5 }},
		{"memory", []string{"512MiB"}, func(s *Spec) { s.Resources.Memory = 512 * MiB }},
		{"disk", []string{"10GB"}, func(s *Spec) { s.Resources.Disk = 1e10 }},
		{"gpu", []string{"2"}, func(s *Spec) { s.Resources.GPU = GPURequest{Count: 2} }},
		{"gpu", []string{"0,GPU-1"}, func(s *Spec) { s.Resources.GPU = GPURequest{IDs: []string{"0", "GPU-1"}} }},
		{"gpu-shared", []string{"true"}, func(s *Spec) { s.Resources.GPUShared = true }},
		{"gpu", []string{"0,"}, func(s *Spec) { s.Resources.GPU = GPURequest{IDs: []string{"0"}} }},
		{"env", []string{"A=1", "B=x=y", "C=", "D"}, func(s *Spec) {
			s.Env = map[string]EnvVar{"PATH": {Value: "/bin"}, "A": {Value: "1"}, "B": {Value: "x=y"}, "C": {}, "D": {From: "env"}}
		}},
		{"label", []string{"a=1", "b="}, func(s *Spec) { s.Labels = map[string]string{"from": "base", "a": "1", "b": ""} }},
		{"mount", []string{".:/workspace:cow", "/srv/:/srv", "a:b/:/c:ro"}, func(s *Spec) {
			s.Mounts = []Mount{{Source: "/work", Target: "/workspace", Mode: "cow"}, {Source: "/srv", Target: "/srv", Mode: "ro"}, {Source: "/work/a:b", Target: "/c", Mode: "ro"}}
		}},
		{"volume", []string{"data:/data", "m:/m:ro"}, func(s *Spec) {
			s.Volumes = []Volume{{Name: "data", Target: "/data"}, {Name: "m", Target: "/m", ReadOnly: true}}
		}},
		{"pids", []string{"256"}, func(s *Spec) { s.Resources.Pids = 256 }},
		{"lan", []string{"true"}, func(s *Spec) { s.Network.LAN = true }},
		{"block-all", []string{"false"}, func(s *Spec) { s.Network.BlockAll = false }},
		{"allow", []string{"10.0.0.0/8", "192.0.2.0/24:443"}, func(s *Spec) { s.Network.Allow = []string{"10.0.0.0/8", "192.0.2.0/24:443"} }},
		{"domain", []string{"example.org"}, func(s *Spec) { s.Network.Domains = []string{"example.org"} }},
		{"auto-stop", []string{"15m"}, func(s *Spec) { s.Automation.AutoStop = Duration(15 * time.Minute) }},
		{"auto-pause", []string{"5m"}, func(s *Spec) { s.Automation.AutoPause = Duration(5 * time.Minute) }},
		{"ttl", []string{"2h"}, func(s *Spec) { s.Automation.TTL = Duration(2 * time.Hour) }},
		{"auto-archive", []string{"7d"}, func(s *Spec) { s.Automation.AutoArchive = Duration(7 * day) }},
		{"auto-delete", []string{"0"}, func(s *Spec) { s.Automation.AutoDelete = 0 }},
		{"rm", []string{"true"}, func(s *Spec) { s.Automation.AutoDelete = 0 }},
		{"rm", []string{"false"}, func(*Spec) {}},
		{"cpu", nil, func(*Spec) {}},
	} {
		p := resolved(t)
		want := resolved(t).Spec
		c.want(&want)
		noError(t, p.Override(c.flag, c.values...), c.flag)
		equal(t, want, p.Spec, c.flag)
	}
}

// A flag is marked in the help as long as a value of it would be refused.
func TestFlagsMarkWhatIsRefused(t *testing.T) {
	for _, f := range Flags() {
		p := resolved(t)
		if f.Name == "allow" || f.Name == "domain" || f.Name == "lan" {
			p.Spec.Network.BlockAll = false // together they are a contradiction
		}
		if f.Name == "gpu-shared" {
			p.Spec.Resources.GPU.Count = 1 // there has to be one
		}
		noError(t, p.Override(f.Name, f.sample()), f.Name)
		equal(t, 0, len(p.Spec.Validate()), f.Name)
		refused := p.Check() != nil
		if mark := f.Unenforced(); (mark != "") != refused {
			t.Errorf("--%s %s: marked %q, and Check says %v", f.Name, f.sample(), mark, p.Check())
		}
	}
}

func TestOverrideErrors(t *testing.T) {
	for _, c := range []struct{ flag, value, want string }{
		{"cpu", "two", `--cpu: "two" is no number of cores: want a number such as 2 or 1.5; the form is --cpu N`},
		{"cpu", "inf", "is no number of cores"},
		{"cpu", "0x10", "is no number of cores"},
		{"cpu", "1.2.3", "is no number of cores"},
		{"cpu", "", "is no number of cores"},
		{"memory", "4G", `--memory: bad size "4G"`},
		{"disk", "-1", `--disk: bad size "-1"`},
		{"gpu", "0,,1", "--gpu: \"0,,1\" has an empty name in it; the form is --gpu N|ID,.."},
		{"gpu", "", "has an empty name"},
		{"gpu", "99999999999999999999", "too many GPUs"},
		{"pids", "-1", `--pids: "-1" is no number of processes`},
		{"pids", "99999999999999999999", "is no number of processes"},
		{"lan", "yes", `"yes" is neither true nor false`},
		{"env", "=x", "--env: the name of a variable is 1 to 256 bytes long, not 0; the form is --env K=V"},
		{"env", "A B=1", "is no name of a variable"},
		{"label", "a", `--label: "a" has no =; the form is --label K=V`},
		{"label", "-a=1", "is no key of a label"},
		{"mount", "/a", "does not name a source and a target; the form is --mount SRC:DST[:ro|rw|rw-as-root|cow]"},
		{"mount", "/a:/b:rx", `there is no mode "rx"`},
		{"mount", ":/b", "does not name a source"},
		{"mount", "/a:", "does not name a source"},
		{"volume", "data", "does not name a volume and a target; the form is --volume NAME:DST[:ro]"},
		{"volume", "data:/d:rx", "the mode is ro or nothing"},
		{"volume", "Data:/d", "may only have a-z"},
		{"block-all", "maybe", "--block-all: \"maybe\" is neither true nor false; the form is --block-all"},
		{"rm", "x", "--rm: \"x\" is neither true nor false"},
		{"auto-stop", "15", `--auto-stop: bad duration "15": it needs a unit`},
		{"frob", "x", "there is no flag --frob"},
	} {
		p := resolved(t)
		err := p.Override(c.flag, c.value)
		wantError(t, err, c.want, c.flag, c.value)
		equal(t, resolved(t).Spec, p.Spec, "unchanged by an error")
		var problems *ProfileError
		if c.flag != "frob" && !errors.As(err, &problems) {
			t.Fatalf("%s: %T", c.flag, err)
		}
	}
	wantError(t, resolved(t).Override("cpu", "1", "2"), "--cpu: it is given twice")
}

// What a flag sets wrongly is told as the flag's, not as the file's.
func TestOverriddenProblemsNameTheFlag(t *testing.T) {
	p := resolved(t)
	noError(t, p.Override("cpu", "2000"))
	noError(t, p.Override("mount", "a:/proc"))
	noError(t, p.Override("env", "PATH="+strings.Repeat("x", maxCommand+1)))
	noError(t, p.Override("allow", "nonsense"))
	err := p.Check()
	wantError(t, err, "--cpu: resources.cpu: 2000 cores cannot be had")
	wantError(t, err, `--mount: mounts[0].target: "/proc" overlaps /proc`)
	wantError(t, err, "--env: env.PATH: it is 32769 bytes long")
	wantError(t, err, `--allow: network.allow[0]: "nonsense" is no CIDR`)
	wantError(t, err, "--allow: network.allow: it means nothing while network.block_all is true; remove it, or set network.block_all = false (--block-all=false)")

	p = resolved(t)
	noError(t, p.Override("block-all", "false"))
	noError(t, p.Override("allow", "192.0.2.0/24"))
	noError(t, p.Override("domain", "example.com"))
	err = p.Check()
	wantError(t, err, "--allow: network.allow: this build cannot enforce the entry in it")
	wantError(t, err, "--domain: network.domains: this build cannot enforce the entry in it")
}

// A flag can put right what the profile lacks.
func TestOverridePutsRight(t *testing.T) {
	fsys := builtIn()
	fsys["open.toml"] = &fstest.MapFile{Data: []byte("description = \"open\"\nnetwork.lan = true\nnetwork.block_all = true\n")}
	p, err := (&Profiles{Dir: "/work", BuiltIn: fsys}).Resolve("open")
	noError(t, err)
	wantError(t, p.Check(), "network.lan: it means nothing while network.block_all is true")
	noError(t, p.Override("block-all", "false"))
	noError(t, p.Check())
}

func TestFlagsAreWhole(t *testing.T) {
	var s Spec
	var h header
	keys := profileFields(&s, &h).keys("")
	var names []string
	for _, f := range Flags() {
		names = append(names, f.Name)
		if f.Help == "" || !slices.Contains(keys, f.Key) {
			t.Errorf("--%s: help %q, key %q", f.Name, f.Help, f.Key)
		}
		equal(t, f.Name == "block-all" || f.Name == "lan" || f.Name == "gpu-shared" || f.Name == "rm", f.Switch(), f.Name)
	}
	slices.Sort(names)
	equal(t, len(names), len(slices.Compact(names)), "no name twice")
}

func TestSecrets(t *testing.T) {
	s := Spec{Env: map[string]EnvVar{"A": {Value: "x"}, "B": {From: "env"}, "C": {From: "env"}, "D": {From: "env"}, "E": {From: "env", Optional: true}, "F": {From: "env", Optional: true}}}
	env := map[string]string{"A": "no", "B": "b", "D": "", "F": "f"}
	values, missing := s.Secrets(func(name string) (string, bool) { v, ok := env[name]; return v, ok })
	equal(t, map[string]string{"B": "b", "D": "", "F": "f"}, values)
	equal(t, []string{"C"}, missing)
	values, missing = Spec{}.Secrets(nil)
	equal(t, 0, len(values)+len(missing))
}

func FuzzOverride(f *testing.F) {
	f.Add("mount", ".:/w:cow", "/a:/b")
	f.Add("env", "A=1", "B")
	f.Add("gpu", "0,1", "")
	f.Add("volume", "a:/b:ro", "")
	f.Add("allow", "10.0.0.0/8:80/udp", "2001:db8::/32:1")
	f.Fuzz(func(t *testing.T, flag, one, two string) {
		p := &Profile{Spec: Defaults(), dir: "/work", file: "f", origins: origins{}}
		if err := p.Override(flag, one, two); err == nil {
			for _, m := range p.Spec.Mounts {
				if !filepath.IsAbs(m.Source) {
					t.Fatalf("source %q", m.Source)
				}
			}
		} else if strings.ContainsFunc(strings.ReplaceAll(err.Error(), "\n", ""), unsafeRune) {
			t.Fatalf("%q", err)
		}
		_ = p.Check()
	})
}
