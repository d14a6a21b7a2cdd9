package config

import (
	"fmt"
	"path/filepath"
)

// Settings are how cove behaves for one user.
type Settings struct {
	// DefaultProfile is used where no profile is named.
	DefaultProfile string
	UI             UI
	// Daemon is only read from the machine's settings.
	Daemon Daemon
}

// Daemon is how the machine's daemon behaves: [daemon] in the settings of
// [SystemDir].
type Daemon struct {
	// DiskReserve is what sandboxes leave free of the file system that they are
	// on; 0 has cove choose.
	DiskReserve Size
}

// minDiskReserve is enough for what the daemon itself writes.
const minDiskReserve = 64 * MiB

// UI is how the TUI looks.
type UI struct {
	// Theme is the name of a theme.
	Theme string
	// Glyphs is GlyphsUnicode or GlyphsASCII.
	Glyphs string
	// Sort is what the list is sorted by at first, one of [Orders].
	Sort string
}

// Orders are the values of [UI.Sort]. The first is the default: what needs a
// person, then by name.
func Orders() []string {
	return []string{"attention", "name", "cpu", "memory", "disk", "gpu", "age", "state", "profile"}
}

// The values of [UI.Glyphs].
const (
	GlyphsUnicode = "unicode"
	GlyphsASCII   = "ascii"
)

// ThemeCove uses the terminal's own 16 colours.
const ThemeCove = "cove"

// SettingsFile is the name of the settings in a configuration directory.
const SettingsFile = "config.toml"

// DefaultSettings are those of a user who has set nothing.
func DefaultSettings() Settings {
	return Settings{
		DefaultProfile: "shell",
		UI:             UI{Theme: ThemeCove, Glyphs: GlyphsUnicode, Sort: Orders()[0]},
	}
}

// LoadSettings reads the settings of the machine (systemDir, [SystemDir]) and
// over them those of the user (userDir, [UserDir]); a file that is not there,
// and a directory that is "", sets nothing. The error is a *[ProfileError] with
// all problems, or one of the file system.
func LoadSettings(systemDir, userDir string) (Settings, error) {
	s := DefaultSettings()
	from := origins{}
	var problems []Problem
	for i, dir := range []string{systemDir, userDir} {
		if dir == "" {
			continue
		}
		path := filepath.Join(dir, SettingsFile)
		text, err := readFile(path)
		if absent(err) {
			continue
		}
		if err != nil {
			return Settings{}, fmt.Errorf("read settings: %w", err)
		}
		doc, problem := parse(path, text)
		if problem != nil {
			problems = append(problems, *problem)
			continue
		}
		known := settingsFields(&s)
		if i == 0 {
			known["daemon"] = group(fields{"disk_reserve": value(&s.Daemon.DiskReserve, size)})
		}
		problems = append(problems, decode(doc, known, from)...)
	}
	found := s.validate()
	from.locate(found, "")
	problems = append(problems, found...)
	if len(problems) > 0 {
		sortProblems(problems)
		return Settings{}, &ProfileError{Problems: problems}
	}
	return s, nil
}

func settingsFields(s *Settings) fields {
	return fields{
		"default_profile": value(&s.DefaultProfile, text),
		"ui": group(fields{
			"theme":  value(&s.UI.Theme, text),
			"glyphs": value(&s.UI.Glyphs, text),
			"sort":   value(&s.UI.Sort, text),
		}),
	}
}

func (s Settings) validate() []Problem {
	v := &validator{}
	if !validProfileName(s.DefaultProfile) {
		v.bad("default_profile", `want a name, such as "shell"`, "%s is no name of a profile", quote(s.DefaultProfile))
	}
	if n := s.Daemon.DiskReserve; n < 0 || n > 0 && n < minDiskReserve {
		v.bad("daemon.disk_reserve", `want at least `+minDiskReserve.String()+`, or "0" to have cove choose`, "%s is too little for the host", n)
	}
	v.oneOf("ui.theme", "theme", s.UI.Theme, []string{ThemeCove})
	v.oneOf("ui.sort", "order", s.UI.Sort, Orders())
	v.oneOf("ui.glyphs", "set of glyphs", s.UI.Glyphs, []string{GlyphsUnicode, GlyphsASCII})
	return v.problems
}
