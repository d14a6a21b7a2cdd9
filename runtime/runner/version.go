package runner

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Version is a version of runc.
type Version struct {
	Major, Minor, Patch int
	// RC is the number of a release candidate; 0 is the release itself.
	RC int
}

// String writes it as runc does.
func (v Version) String() string {
	s := fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch)
	if v.RC > 0 {
		s += fmt.Sprintf("-rc.%d", v.RC)
	}
	return s
}

// less orders versions; a candidate is before its release.
func (v Version) less(w Version) bool {
	a, b := [...]int{v.Major, v.Minor, v.Patch}, [...]int{w.Major, w.Minor, w.Patch}
	for i := range a {
		if a[i] != b[i] {
			return a[i] < b[i]
		}
	}
	return v.RC != 0 && (w.RC == 0 || v.RC < w.RC)
}

// VersionError is a runc that is refused; it is ErrVulnerable.
type VersionError struct {
	Path    string
	Version Version
}

// Error tells the version and what to do.
func (e *VersionError) Error() string {
	return fmt.Sprintf("%v: %s is %s, which has known escapes or hangs; install 1.3.6, 1.4.3, 1.5.0 or later, or the one that cove is built with",
		ErrVulnerable, e.Path, e.Version)
}

// Unwrap gives ErrVulnerable.
func (e *VersionError) Unwrap() error { return ErrVulnerable }

// Safe tells whether cove runs sandboxes with this version. Refused are
//   - all before 1.3.6 (1.1 and 1.2 get no fixes any more): escapes by
//     CVE-2025-31133, CVE-2025-52565, CVE-2025-52881 and CVE-2026-41579, and
//     runs of short-lived programs that hang (opencontainers/runc#5208);
//   - 1.4 before 1.4.3 and the candidates of 1.5 before rc.3: CVE-2026-41579.
func (v Version) Safe() bool {
	switch {
	case v.less(Version{1, 3, 6, 0}):
		return false
	case v.Major == 1 && v.Minor == 4:
		return !v.less(Version{1, 4, 3, 0})
	case v.Major == 1 && v.Minor > 4:
		return !v.less(Version{1, 5, 0, 3})
	}
	return true
}

// versionLine is compiled where it is used, once in a daemon's life: every run of
// the program would pay for it otherwise.
//
// A distribution's or builder's suffix ("+dev", "-1ubuntu1", "~ds1") says nothing
// of what was fixed; only "-rc.N" is ours to know.
const versionLine = `^runc version ([0-9]{1,6})\.([0-9]{1,6})\.([0-9]{1,6})(?:-rc\.?([0-9]{1,6}))?((?:[+~-][0-9A-Za-z.+~-]*)?)$`

// parseVersion reads the first line of `runc --version`.
func parseVersion(out string) (Version, error) {
	line, _, _ := strings.Cut(out, "\n")
	m := regexp.MustCompile(versionLine).FindStringSubmatch(strings.TrimRight(line, " \r"))
	if m == nil || strings.HasPrefix(m[5], "-rc") {
		return Version{}, fmt.Errorf("not a version of runc: %q", printable(line))
	}
	var n [4]int
	for i, digits := range m[1:5] {
		if digits == "" {
			continue
		}
		var err error
		if n[i], err = strconv.Atoi(digits); err != nil {
			return Version{}, err
		}
	}
	return Version{n[0], n[1], n[2], n[3]}, nil
}

// Version asks runc for its version. A program that is not runc is ErrVulnerable:
// nothing is known of it.
func (r *Runner) Version(ctx context.Context) (Version, error) {
	out, err := r.exec(ctx, []string{"--version"}, invocation{output: true})
	if err != nil {
		return Version{}, &Error{Op: "--version", Err: err}
	}
	v, err := parseVersion(string(out))
	if err != nil {
		return Version{}, errors.Join(ErrVulnerable, err)
	}
	return v, nil
}
