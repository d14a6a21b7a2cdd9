package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLoadSettings(t *testing.T) {
	for _, c := range []struct {
		name, system, user string
		want               Settings
		err                []string
	}{
		{name: "none", want: DefaultSettings()},
		{name: "empty", system: "\n", user: "# nothing\n", want: DefaultSettings()},
		{
			name: "both", system: "default_profile = \"python\"\nui.glyphs = \"ascii\"\n", user: "default_profile = \"go\"\nui.sort = \"cpu\"\n",
			want: Settings{DefaultProfile: "go", UI: UI{Theme: "cove", Glyphs: "ascii", Sort: "cpu"}},
		},
		{name: "key", user: "default_profil = \"x\"\n[ui]\nglyhps = \"ascii\"\n", err: []string{
			"user/config.toml:1:1: default_profil: unknown key; did you mean \"default_profile\"?",
			"user/config.toml:3:1: ui.glyhps: unknown key; did you mean \"ui.glyphs\"?",
		}},
		{name: "values", system: "ui.theme = \"neon\"\n", user: "default_profile = \"./cove.toml\"\n[ui]\nglyphs = \"asci\"\nsort = \"cpus\"\n", err: []string{
			"user/config.toml:1:1: default_profile: \"./cove.toml\" is no name of a profile; want a name, such as \"shell\"",
			"etc/config.toml:1:1: ui.theme: there is no theme \"neon\"; one of: cove",
			"user/config.toml:3:1: ui.glyphs: there is no set of glyphs \"asci\"; did you mean \"ascii\"?",
			"user/config.toml:4:1: ui.sort: there is no order \"cpus\"; did you mean \"cpu\"?",
		}},
		{name: "types", user: "default_profile = 1\nui = 2\n", err: []string{
			"user/config.toml:1:1: default_profile: want a string, got the number 1",
			"user/config.toml:2:1: ui: want a table, got the number 2; write [ui] above its keys",
		}},
		{
			name: "daemon", system: "[daemon]\ndisk_reserve = \"10GiB\"\n",
			want: Settings{DefaultProfile: "shell", UI: DefaultSettings().UI, Daemon: Daemon{DiskReserve: 10 * GiB}},
		},
		{name: "daemon of a user", system: "daemon.disk_reserve = \"1MiB\"\n", user: "[daemon]\ndisk_reserve = \"10GiB\"\n", err: []string{
			"etc/config.toml:1:1: daemon.disk_reserve: 1MiB is too little for the host; want at least 64MiB, or \"0\" to have cove choose",
			"user/config.toml:1:2: daemon: unknown key",
		}},
		{name: "syntax", system: "x", user: "y", err: []string{"etc/config.toml:1:", "user/config.toml:1:"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			for dir, text := range map[string]string{"etc": c.system, "user": c.user} {
				if text != "" {
					noError(t, os.Mkdir(filepath.Join(root, dir), 0o700))
					noError(t, os.WriteFile(filepath.Join(root, dir, SettingsFile), []byte(text), 0o600))
				}
			}
			got, err := LoadSettings(filepath.Join(root, "etc"), filepath.Join(root, "user"))
			if c.err == nil {
				noError(t, err)
				equal(t, c.want, got)
				return
			}
			var problems *ProfileError
			if !errors.As(err, &problems) || len(problems.Problems) != len(c.err) {
				t.Fatalf("%v", err)
			}
			for _, part := range c.err {
				wantError(t, errors.New(strings.ReplaceAll(err.Error(), root+"/", "")), part)
			}
		})
	}
	_, err := LoadSettings("", "")
	noError(t, err)
	dir := t.TempDir()
	noError(t, os.Mkdir(filepath.Join(dir, SettingsFile), 0o700))
	_, err = LoadSettings(dir, "")
	wantError(t, err, "not a regular file")
}

func TestDirsFromEnv(t *testing.T) {
	long := "/" + strings.Repeat("x", 97)
	for _, c := range []struct {
		state, run string
		want       Dirs
		err        string
	}{
		{"", "", Dirs{"/var/lib/cove", "/run/cove"}, ""},
		{"/a", "/b/c", Dirs{"/a", "/b/c"}, ""},
		{"/a", "/a/run", Dirs{"/a", "/a/run"}, ""},
		{"a", "", Dirs{}, `COVE_STATE_DIR is "a": want an absolute path`},
		{"", "./b", Dirs{}, `COVE_RUN_DIR is "./b": want an absolute path`},
		{"/a/../b", "", Dirs{}, `COVE_STATE_DIR is "/a/../b": want a clean path, "/b"`},
		{"/a/", "", Dirs{}, "want a clean path"},
		{"/", "", Dirs{}, "root directory"},
		{"/a", "/a", Dirs{}, "must differ"},
		{"", long, Dirs{}, "too long: the path of its socket is 108 bytes"},
		{"", long[:97], Dirs{"/var/lib/cove", long[:97]}, ""},
	} {
		got, err := DirsFromEnv(func(name string) string {
			return map[string]string{"COVE_STATE_DIR": c.state, "COVE_RUN_DIR": c.run}[name]
		})
		if c.err != "" {
			wantError(t, err, c.err)
			continue
		}
		noError(t, err)
		equal(t, c.want, got)
		equal(t, c.want.Run+"/cove.sock", got.Socket())
	}
}
