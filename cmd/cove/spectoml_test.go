package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cove/assets"
	"cove/config"
)

// What profile show prints is a profile that resolves to the same spec.
func TestSpecTOMLReadsBack(t *testing.T) {
	full := config.Defaults()
	full.Profile = "full"
	full.Description = "with \"quotes\", \\ and \x7f, <tags> & ünïcode\nover two lines"
	full.Language = "go"
	full.Shell = []string{"/bin/sh", "-c", "exec bash"}
	full.User = ""
	full.NoNewPrivileges = false
	full.Setup = []string{"a", "b 'c'"}
	full.Resources = config.Resources{
		CPU: 1.5, AllCPUs: true, Memory: 3 * config.GiB, Swap: 1000, Disk: 5 * config.MiB, DiskReserve: true, Pids: 7,
		GPU: config.GPURequest{IDs: []string{"0", "GPU-x"}}, GPUShared: true, IORead: 1, IOWrite: 2 * config.KiB,
	}
	full.Network = config.Network{
		Allow: []string{"10.0.0.0/8", "1.2.3.4/32:53/udp"}, Deny: []string{"10.1.0.0/16"}, Domains: []string{"*.example.org"},
		LAN: true, HostPorts: []int{11434, 8080}, Ask: true,
	}
	full.Ports = []config.Port{{Port: 8080, Public: true}, {Port: 9090}}
	full.Env = map[string]config.EnvVar{"PATH": {Value: "/bin"}, "TOKEN": {From: config.FromEnv}, "EMPTY": {}, "KEY": {From: config.FromEnv, Optional: true}}
	full.Command, full.Install = []string{"agent", "-x y"}, "npm install -g agent"
	full.Git = config.Git{Identity: false, Name: "N \"N\"", Email: "e@example.org"}
	full.Labels = map[string]string{"team.x/y": "a b", "z": ""}
	full.Mounts = []config.Mount{{Source: "/srv", Target: "/srv", Mode: config.MountCOW}}
	full.Volumes = []config.Volume{{Name: "data", Target: "/data", Subpath: "x", Quota: config.GiB, ReadOnly: true}}
	full.Automation = config.Automation{
		AutoStop: config.Duration(90 * time.Minute), AutoPause: config.Duration(time.Second), StopTimeout: config.Duration(1500 * time.Millisecond),
		PreStop: []string{"sync"}, PreStopTimeout: config.Duration(time.Second), AutoArchive: config.Never,
		AutoDelete: 0, TTL: config.Duration(48 * time.Hour), Activity: []string{"exec"},
	}
	specs := map[string]config.Spec{"full": full}
	places := &config.Profiles{Dir: t.TempDir(), BuiltIn: assets.Profiles()}
	entries, err := places.List()
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) < 6 {
		t.Errorf("%d built-in profiles, want 6 at least", len(entries))
	}
	for _, e := range entries {
		p, err := places.Resolve(e.Name)
		if err != nil {
			t.Fatal(err)
		}
		specs[e.Name] = p.Spec
	}
	for name, spec := range specs {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(places.Dir, name+".toml")
			if err := os.WriteFile(path, []byte(specTOML(spec)), 0o600); err != nil {
				t.Fatal(err)
			}
			back, err := places.Resolve(path)
			if err != nil {
				t.Fatalf("%v\n%s", err, specTOML(spec))
			}
			back.Spec.Profile = spec.Profile // it is the file's name now
			if diff := cmp.Diff(spec, back.Spec); diff != "" {
				t.Errorf("read back it differs (-want +got):\n%s\n%s", diff, specTOML(spec))
			}
		})
	}
}
