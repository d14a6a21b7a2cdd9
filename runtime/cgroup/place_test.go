package cgroup

import (
	"os"
	"path/filepath"
	"testing"
)

func TestRemember(t *testing.T) {
	files := map[string]string{
		"cg/unit.service/cove-0c0ffe/0123456789ab/x": "", "cg/empty.service/cove-0c0ffe/cpu.max": "", "cg/other.service/cove-abcdef/0123456789ab/x": "",
	}
	for name, tt := range map[string]struct{ noted, own, want string }{
		"the first daemon":                 {"", "/", "/"},
		"as before":                        {"/unit.service\n", "/unit.service", "/unit.service"},
		"by hand after the unit":           {"/unit.service\n", "/", "/unit.service"},
		"another's":                        {"/other.service\n", "/", "/"},
		"no sandbox is left there":         {"/empty.service\n", "/", "/"},
		"gone":                             {"/gone.service\n", "/", "/"},
		"nonsense":                         {"../unit.service\n", "/", "/"},
		"not clean":                        {"/x/../unit.service\n", "/", "/"},
		"the unit, where nobody is at top": {"/\n", "/empty.service", "/empty.service"},
	} {
		t.Run(name, func(t *testing.T) {
			tree := fixture(t, Unified, map[string][]string{"": {"cpu"}}, files)
			tree.layout.Parent, tree.layout.Delegated = tt.own, tt.own != "/"
			file := filepath.Join(t.TempDir(), "cgroup")
			if tt.noted != "" {
				if err := os.WriteFile(file, []byte(tt.noted), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := tree.Remember(file); err != nil {
				t.Fatal(err)
			}
			if tree.layout.Parent != tt.want || tree.layout.Delegated && tt.want != tt.own {
				t.Errorf("below %s, delegated %v; want %s", tree.layout.Parent, tree.layout.Delegated, tt.want)
			}
			if data, err := os.ReadFile(file); err != nil || string(data) != tt.want+"\n" {
				t.Errorf("noted %q, %v", data, err)
			}
		})
	}
	tree := fixture(t, Unified, map[string][]string{"": {"cpu"}}, files)
	if err := tree.Remember(filepath.Join(t.TempDir(), "none", "cgroup")); err == nil {
		t.Error("a file that cannot be written")
	}
}
