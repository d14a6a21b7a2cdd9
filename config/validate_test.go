package config

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestDefaultsAreValid(t *testing.T) {
	equal(t, []string{}, lines(Defaults().Validate()))
	equal(t, []string{}, lines(Unenforced(Defaults())))
	one, two := Defaults(), Defaults()
	one.Env["X"] = EnvVar{Value: "x"}
	one.Shell[0] = "x"
	equal(t, 1, len(two.Env), "made anew by each call")
	equal(t, "/bin/bash", two.Shell[0])
}

func manyOf(n int) []string { return strings.Split(strings.Repeat("/x,", n-1)+"/x", ",") }

func TestValidate(t *testing.T) {
	huge := strings.Repeat("x", 1<<20)
	for _, c := range []struct {
		name string
		set  func(*Spec)
		want string // part of the only line; empty is valid
	}{
		{"no limits", func(s *Spec) { s.Resources = Resources{} }, ""},
		{"most", func(s *Spec) {
			s.Resources = Resources{CPU: 1024, Memory: 1 << 60, Swap: 1 << 60, Disk: 8 << 40, DiskReserve: true, Pids: 1 << 22, GPU: GPURequest{Count: 1}, GPUShared: true}
		}, ""},
		{"least", func(s *Spec) { s.Resources = Resources{CPU: 0.01, Memory: 6 * MiB, Disk: 16 * MiB, Pids: 32} }, ""},
		{"nothing optional", func(s *Spec) {
			s.Shell, s.User, s.Workdir, s.Language, s.Runtime, s.Env = nil, "", "", "", "", nil
		}, ""},

		{"profile with escape", func(s *Spec) { s.Profile = "\x1b[2J" }, "profile: it contains a line break or another control"},
		{"profile too long", func(s *Spec) { s.Profile = strings.Repeat("x", 257) }, "profile: it is 257 bytes long: at most 256"},
		{"description turns", func(s *Spec) { s.Description = "a\u202eb" }, "description: it contains"},
		{"description not UTF-8", func(s *Spec) { s.Description = "a\xff" }, "description: it is not valid UTF-8"},
		{"no image", func(s *Spec) { s.Image = "" }, "image: it is empty"},
		{"image with NUL", func(s *Spec) { s.Image = "host\x00" }, "image: it contains a NUL byte"},
		{"language", func(s *Spec) { s.Language = "perl" }, "language: there is no language \"perl\"; one of: bash, go"},
		{"shell with NUL", func(s *Spec) { s.Shell = []string{"/bin/sh", "a\x00"} }, "shell[1]: it contains a NUL byte"},
		{"shell relative", func(s *Spec) { s.Shell = []string{"sh"} }, "shell[0]: \"sh\" is not an absolute path"},
		{"shell too long", func(s *Spec) { s.Shell = manyOf(65) }, "shell: it has 65 entries: at most 64"},
		{"user", func(s *Spec) { s.User = "a b" }, "user: \"a b\" may only"},
		{"user option", func(s *Spec) { s.User = "-u" }, "user: \"-u\" is no user name"},
		{"user id", func(s *Spec) { s.User = "65535:65535" }, ""},
		{"user id past the range", func(s *Spec) { s.User = "65536" }, "user: \"65536\" is no user"},
		{"user id empty group", func(s *Spec) { s.User = "1:" }, "user: \"1:\" is no user"},
		{"user id with more", func(s *Spec) { s.User = "1:2:3" }, "user: \"1:2:3\" is no user"},
		{"workdir relative", func(s *Spec) { s.Workdir = "x" }, "workdir: \"x\" is not an absolute path"},
		{"workdir climbs", func(s *Spec) { s.Workdir = "/x/../../y" }, "workdir: \"/x/../../y\" is not a clean path; write \"/y\""},
		{"workdir with NUL", func(s *Spec) { s.Workdir = "/x\x00" }, "workdir: it contains a NUL byte"},
		{"setup too many", func(s *Spec) { s.Setup = manyOf(65) }, "setup: it has 65 entries"},
		{"setup NUL", func(s *Spec) { s.Setup = []string{"a", "b\x00"} }, "setup[1]: it contains a NUL"},
		{"runtime path", func(s *Spec) { s.Runtime = "../evil" }, "runtime: \"../evil\" may only"},

		{"cpu NaN", func(s *Spec) { s.Resources.CPU = math.NaN() }, "resources.cpu: NaN cores"},
		{"cpu infinite", func(s *Spec) { s.Resources.CPU = math.Inf(1) }, "resources.cpu: +Inf cores"},
		{"cpu negative", func(s *Spec) { s.Resources.CPU = -1 }, "resources.cpu: -1 cores"},
		{"cpu tiny", func(s *Spec) { s.Resources.CPU = 1e-300 }, "resources.cpu: 1e-300 cores"},
		{"cpu many", func(s *Spec) { s.Resources.CPU = 1024.1 }, "resources.cpu: 1024.1 cores"},
		{"memory negative", func(s *Spec) { s.Resources.Memory = -1 }, "resources.memory: -1 is out of range"},
		{"memory small", func(s *Spec) { s.Resources.Memory = 6*MiB - 1 }, "resources.memory: 6291455 is too little"},
		{"memory vast", func(s *Spec) { s.Resources.Memory = math.MaxInt64 }, "resources.memory: 9223372036854775807 is out of range"},
		{"swap alone", func(s *Spec) { s.Resources.Memory, s.Resources.Swap = 0, GiB }, "resources.swap: swap is counted"},
		{"pids few", func(s *Spec) { s.Resources.Pids = 31 }, "resources.pids: 31 processes"},
		{"pids negative", func(s *Spec) { s.Resources.Pids = -1 }, "resources.pids: -1 processes"},
		{"pids many", func(s *Spec) { s.Resources.Pids = 1<<22 + 1 }, "resources.pids"},
		{"gpu both", func(s *Spec) { s.Resources.GPU = GPURequest{1, []string{"0"}} }, "resources.gpu: it is both"},
		{"gpu negative", func(s *Spec) { s.Resources.GPU.Count = -1 }, "resources.gpu: -1 is no number"},
		{"gpu empty name", func(s *Spec) { s.Resources.GPU.IDs = []string{""} }, "resources.gpu[0]: the name is empty"},
		{"gpu shared alone", func(s *Spec) { s.Resources.GPUShared = true }, "resources.gpu_shared: there is no GPU"},
		{"disk too small", func(s *Spec) { s.Resources.Disk = MiB }, "resources.disk: 1MiB cannot be the size of a disk: want 16MiB to 8TiB"},
		{"disk too large", func(s *Spec) { s.Resources.Disk = 9 << 40 }, "resources.disk: 9TiB cannot be"},
		{"disk reserve alone", func(s *Spec) { s.Resources.DiskReserve = true }, "resources.disk_reserve: there is no quota"},

		{"network", func(s *Spec) {
			s.Network = Network{
				Allow: []string{"0.0.0.0/0", "::/0", "192.0.2.0/24:443", "2001:db8::/32:53/udp", "192.0.2.1/32:1/tcp"},
				Deny:  []string{"10.0.0.0/8"}, Domains: []string{"a.example", "*.b.example"}, LAN: true, HostPorts: []int{1, 65535}, Ask: true,
			}
		}, ""},
		{"allow no port", func(s *Spec) { s.Network.Allow = []string{"192.0.2.0/24:"} }, "network.allow[0]: \"192.0.2.0/24:\" has a bad port"},
		{"allow protocol", func(s *Spec) { s.Network.Allow = []string{"192.0.2.0/24:1/icmp"} }, "has a bad port"},
		{"allow half", func(s *Spec) { s.Network.Allow = []string{"192.0.2.0/24:1/"} }, "has a bad port"},
		{"allow zone", func(s *Spec) { s.Network.Allow = []string{"fe80::1%eth0"} }, "is no CIDR; such as"},
		{"allow too many", func(s *Spec) { s.Network.Allow = manyOf(257) }, "network.allow: it has 257 entries: at most 256"},
		{"deny port", func(s *Spec) { s.Network.Deny = []string{"192.0.2.0/24:80"} }, "network.deny[0]"},
		{"domain star", func(s *Spec) { s.Network.Domains = []string{"*"} }, "network.domains[0]: \"*\" is no domain"},
		{"domain inner star", func(s *Spec) { s.Network.Domains = []string{"a.*.b"} }, "is no domain"},
		{"domain dot", func(s *Spec) { s.Network.Domains = []string{"a..b"} }, "is no domain"},
		{"host port", func(s *Spec) { s.Network.HostPorts = []int{0} }, "network.host_ports[0]: 0 is no port"},
		{"port", func(s *Spec) { s.Ports = []Port{{Port: 65536}} }, "ports[0].port: 65536 is no port"},

		{"env name", func(s *Spec) { s.Env = map[string]EnvVar{"A=B": {}} }, `env."A=B": "A=B" is no name`},
		{"env empty name", func(s *Spec) { s.Env = map[string]EnvVar{"": {}} }, `env."": the name of a variable`},
		{"env NUL", func(s *Spec) { s.Env = map[string]EnvVar{"A": {Value: "\x00"}} }, "env.A: it contains a NUL"},
		{"env source", func(s *Spec) { s.Env = map[string]EnvVar{"A": {From: "/etc/shadow"}} }, "env.A: there is no source"},
		{"env both", func(s *Spec) { s.Env = map[string]EnvVar{"A": {From: "env", Value: "x"}} }, "env.A: it has both"},
		{"env optional value", func(s *Spec) { s.Env = map[string]EnvVar{"A": {Optional: true, Value: "x"}} }, "env.A: only what comes from the environment"},
		{"command without a program", func(s *Spec) { s.Command = []string{" ", "x"} }, "command: it names no program"},
		{"command NUL", func(s *Spec) { s.Command = []string{"a", "b\x00"} }, "command[1]: it contains a NUL"},
		{"command long", func(s *Spec) { s.Command = make([]string, 65) }, "command: it has 65 entries"},
		{"install lines", func(s *Spec) { s.Install = "a\nb" }, "install: it contains a line break"},
		{"git name lines", func(s *Spec) { s.Git.Name = "a\n[core]" }, "git.name: it contains a line break"},
		{"git email control", func(s *Spec) { s.Git.Email = "a\x1b" }, "git.email: it contains a line break"},
		{"env too many", func(s *Spec) {
			s.Env = map[string]EnvVar{}
			for i := range maxMap + 1 {
				s.Env[fmt.Sprint("A", i)] = EnvVar{}
			}
		}, "env: it has 513 entries"},
		{"label key", func(s *Spec) { s.Labels = map[string]string{"a b": ""} }, `labels."a b"`},
		{"label key ends", func(s *Spec) { s.Labels = map[string]string{"a.": ""} }, "is no key of a label"},
		{"label keys", func(s *Spec) { s.Labels = map[string]string{"a": "", "io.x/y_z-1": "ok \u2713"} }, ""},
		{"label value", func(s *Spec) { s.Labels = map[string]string{"a": "x\ny"} }, "labels.a: it contains a line break"},
		{"label value long", func(s *Spec) { s.Labels = map[string]string{"a": strings.Repeat("x", 257)} }, "labels.a: it is 257 bytes"},

		{"mount relative", func(s *Spec) { s.Mounts = []Mount{{Source: "src", Target: "/x", Mode: "ro"}} }, "mounts[0].source: \"src\" is not an absolute"},
		{"mount root", func(s *Spec) { s.Mounts = []Mount{{Source: "/src", Target: "/", Mode: "ro"}} }, "mounts[0].target: the root"},
		{"mount over init", func(s *Spec) { s.Mounts = []Mount{{Source: "/src", Target: "/run", Mode: "ro"}} }, "mounts[0].target: \"/run\" overlaps /run,"},
		{"mount dev", func(s *Spec) { s.Mounts = []Mount{{Source: "/src", Target: "/dev/shm", Mode: "ro"}} }, "overlaps /dev"},
		{"mount no mode", func(s *Spec) { s.Mounts = []Mount{{Source: "/src", Target: "/x", Mode: ""}} }, "mounts[0].mode: there is no mode"},
		{"two targets", func(s *Spec) {
			s.Mounts = []Mount{{Source: "/src", Target: "/x", Mode: "rw-as-root"}}
			s.Volumes = []Volume{{Name: "v", Target: "/x"}}
		}, "volumes[0].target: \"/x\" is a target twice"},
		{"volume subpath", func(s *Spec) { s.Volumes = []Volume{{Name: "v", Target: "/x", Subpath: "/etc"}} }, "volumes[0].subpath"},
		{"volume quota", func(s *Spec) { s.Volumes = []Volume{{Name: "v", Target: "/x", Quota: -1}} }, "volumes[0].quota"},

		{"stop_timeout never", func(s *Spec) { s.Automation.StopTimeout = Never }, "automation.stop_timeout: never is out of range"},
		{"stop_timeout long", func(s *Spec) { s.Automation.StopTimeout = Duration(time.Hour) + 1 }, "automation.stop_timeout"},
		{"stop_timeout 0", func(s *Spec) { s.Automation.StopTimeout = 0 }, ""},
		{"pre_stop_timeout", func(s *Spec) { s.Automation.PreStopTimeout = -7 }, "automation.pre_stop_timeout: -7ns is out of range"},
		{"auto_delete negative", func(s *Spec) { s.Automation.AutoDelete = -2 }, "automation.auto_delete: -2ns is negative"},
		{"auto_stop forever", func(s *Spec) { s.Automation.AutoStop = math.MaxInt64 }, "automation.auto_stop: 106751d"},
		{"ttl forever", func(s *Spec) { s.Automation.TTL = Duration(36501 * day) }, "automation.ttl: 36501d is out of range: want 36500d at most"},
		{"ttl 100 years", func(s *Spec) { s.Automation.TTL = Duration(36500 * day) }, ""},
		{"ttl 0", func(s *Spec) { s.Automation.TTL = 0 }, "automation.ttl: 0 would end it"},
		{"activity", func(s *Spec) { s.Automation.Activity = []string{"exce"} }, "there is no activity \"exce\"; did you mean \"exec\"?"},
		{"activity none", func(s *Spec) { s.Automation.Activity = []string{} }, "automation.activity: an empty list would have nothing count as use; remove it for all of them: terminal, exec"},
		{"io without a unit", func(s *Spec) { s.Resources.IOWrite = 10 }, "resources.io_write: 10 a second is too slow to work with: want 4KiB or more, or 0"},
		{"io read", func(s *Spec) { s.Resources.IORead = 4*KiB - 1 }, "resources.io_read: "},
		{"io least", func(s *Spec) { s.Resources.IORead, s.Resources.IOWrite = 4*KiB, 4*KiB }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := Defaults()
			c.set(&s)
			got := lines(s.Validate())
			switch {
			case c.want == "" && len(got) > 0:
				t.Fatalf("want it valid, got %q", got)
			case c.want != "" && (len(got) != 1 || !strings.Contains(got[0], c.want)):
				t.Fatalf("want only %q, got %q", c.want, got)
			}
		})
	}

	// Every string has a length, whichever it is.
	for name, set := range map[string]func(*Spec){
		"profile": func(s *Spec) { s.Profile = huge }, "description": func(s *Spec) { s.Description = huge },
		"image": func(s *Spec) { s.Image = huge }, "language": func(s *Spec) { s.Language = huge },
		"shell": func(s *Spec) { s.Shell = []string{"/" + huge} }, "user": func(s *Spec) { s.User = huge },
		"digits": func(s *Spec) { s.User = strings.Repeat("1", 1<<20) }, "workdir": func(s *Spec) { s.Workdir = "/" + huge },
		"setup": func(s *Spec) { s.Setup = []string{huge} }, "runtime": func(s *Spec) { s.Runtime = huge },
		"gpu": func(s *Spec) { s.Resources.GPU.IDs = []string{huge} }, "allow": func(s *Spec) { s.Network.Allow = []string{huge} },
		"deny": func(s *Spec) { s.Network.Deny = []string{huge} }, "domains": func(s *Spec) { s.Network.Domains = []string{huge} },
		"env name": func(s *Spec) { s.Env[huge] = EnvVar{} }, "env value": func(s *Spec) { s.Env["A"] = EnvVar{Value: huge} },
		"env source": func(s *Spec) { s.Env["A"] = EnvVar{From: huge} },
		"label":      func(s *Spec) { s.Labels = map[string]string{huge: ""} }, "label value": func(s *Spec) { s.Labels = map[string]string{"a": huge} },
		"mount source": func(s *Spec) { s.Mounts = []Mount{{Source: "/" + huge, Target: "/x", Mode: "ro"}} },
		"mount target": func(s *Spec) { s.Mounts = []Mount{{Source: "/x", Target: "/" + huge, Mode: "ro"}} },
		"mount mode":   func(s *Spec) { s.Mounts = []Mount{{Source: "/x", Target: "/x", Mode: huge}} },
		"volume":       func(s *Spec) { s.Volumes = []Volume{{Name: huge, Target: "/x"}} },
		"subpath":      func(s *Spec) { s.Volumes = []Volume{{Name: "a", Target: "/x", Subpath: huge}} },
		"pre_stop":     func(s *Spec) { s.Automation.PreStop = []string{huge} },
		"activity":     func(s *Spec) { s.Automation.Activity = []string{huge} },
	} {
		s := Defaults()
		set(&s)
		got := lines(s.Validate())
		if len(got) < 2 || !strings.Contains(got[0], "bytes of text: at most") {
			t.Errorf("%s: %q", name, got)
		}
		for _, line := range got {
			if len(line) > 1000 {
				t.Errorf("%s: a line of %d bytes", name, len(line))
			}
		}
	}
}

// Any JSON that is a Spec is validated without a panic, what is valid stays so
// through JSON, and it fits in a frame of the guest's protocol.
func FuzzValidate(f *testing.F) {
	add := func(s Spec) {
		data, err := json.Marshal(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	add(Defaults())
	s := Defaults()
	s.Network = Network{BlockAll: true, Allow: []string{"10.0.0.0/8:80/udp"}, Domains: []string{"*.x"}, HostPorts: []int{1}}
	s.Mounts = []Mount{{Source: "/a", Target: "/b", Mode: "cow"}}
	s.Volumes = []Volume{{Name: "a", Target: "/c", Subpath: "d"}}
	s.Labels = map[string]string{"a": "b"}
	s.Resources.GPU.IDs = []string{"0"}
	s.User = "1:2"
	add(s)
	f.Fuzz(func(t *testing.T, data []byte) {
		var s Spec
		if json.Unmarshal(data, &s) != nil {
			return
		}
		problems := s.Validate()
		for _, line := range lines(slices.Concat(problems, Unenforced(s))) {
			if strings.ContainsFunc(line, unsafeRune) {
				t.Fatalf("%q", line)
			}
		}
		if len(problems) > 0 {
			return
		}
		again, err := json.Marshal(s)
		if err != nil || len(again) > 1<<20 {
			t.Fatalf("%d bytes, %v", len(again), err)
		}
		var back Spec
		if err := json.Unmarshal(again, &back); err != nil || len(back.Validate()) > 0 {
			t.Fatalf("%v, %q", err, lines(back.Validate()))
		}
	})
}
