package main

import (
	"cmp"
	"debug/buildinfo"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set by the linker (-X main.version=...). Where it is not, the
// build's own record is used.
var version string

// versionView is `version --json`.
type versionView struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	Go      string `json:"go"`
	Runc    string `json:"runc"`
}

func (a *app) versionCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  noArgs,
		RunE:  func(*cobra.Command, []string) error { return a.printVersion(asJSON) },
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (a *app) printVersion(asJSON bool) error {
	v := versionView{Version: programVersion(), Commit: "unknown", Go: runtime.Version(), Runc: cmp.Or(runcVersion(), "not installed")}
	if info, ok := debug.ReadBuildInfo(); ok {
		v.Commit = cmp.Or(commitOf(info), v.Commit)
	}
	if asJSON {
		return a.printJSON(v)
	}
	return a.printFields([][2]string{{"cove", v.Version}, {"commit", v.Commit}, {"go", v.Go}, {"runc", v.Runc}})
}

// programVersion is the version of this program.
func programVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "(devel)" {
		return cmp.Or(info.Main.Version, "devel")
	}
	return "devel"
}

func commitOf(info *debug.BuildInfo) string {
	commit, changed := "", false
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			commit = s.Value
		case "vcs.modified":
			changed = s.Value == "true"
		}
	}
	if commit != "" && changed {
		commit += "+changes"
	}
	return commit
}

// runcVersion is the version of the runc that is installed with this program,
// as its own build recorded it; "" where there is none.
func runcVersion() string {
	self, err := os.Executable()
	if err != nil {
		return ""
	}
	dir := filepath.Dir(self)
	for _, path := range []string{filepath.Join(dir, "runc"), filepath.Join(dir, "..", "libexec", "cove", "runc")} {
		info, err := buildinfo.ReadFile(path)
		if err != nil {
			continue
		}
		for _, m := range append([]*debug.Module{&info.Main}, info.Deps...) {
			if m.Path == "github.com/opencontainers/runc" {
				return m.Version
			}
		}
	}
	return ""
}
