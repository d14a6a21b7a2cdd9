package change

import (
	"bytes"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"cove/runtime/delta"
)

// Flags of a change, see [api.FileChange].
const (
	FlagGit        = "git"
	FlagHook       = "hook"
	FlagEnvrc      = "envrc"
	FlagExecutable = "executable"
	FlagLinkOut    = "link out"
	FlagSetuid     = "setuid"
)

// conflict says why the host's file is not the one that the sandbox changed, "" where
// it is.
func conflict(base, host *delta.Base, since int64) string {
	when := time.Unix(since, 0).Local().Format("15:04")
	if y, m, d := time.Now().Date(); since < time.Date(y, m, d, 0, 0, 0, 0, time.Local).Unix() {
		when = time.Unix(since, 0).Local().Format("2006-01-02 15:04")
	}
	switch {
	case base == nil && host == nil:
		return ""
	case base == nil:
		return "made on the host since " + when
	case host == nil:
		return "deleted on the host since " + when
	case base.Kind != host.Kind:
		return fmt.Sprintf("changed on the host since %s: %s -> %s", when, typeName(base.Kind), typeName(host.Kind))
	case base.Racy && host.Ctime == base.Ctime && host.Ino == base.Ino && base.Kind != delta.Dir:
		return "changed on the host while the sandbox was being made"
	}
	changed := "changed on the host since " + when
	switch base.Kind {
	case delta.File:
		switch {
		case base.Size != host.Size:
			return fmt.Sprintf("%s: size %d -> %d", changed, base.Size, host.Size)
		case base.Mtime != host.Mtime:
			return fmt.Sprintf("%s: written at %s", changed, time.Unix(0, host.Mtime).Local().Format("2006-01-02 15:04:05"))
		case base.Ino != host.Ino:
			return changed + ": it is another file"
		}
	case delta.Link:
		if !bytes.Equal(base.Link, host.Link) {
			return fmt.Sprintf("%s: it leads to %q", changed, host.Link)
		}
		return ""
	default:
	}
	if base.Mode&permissions != host.Mode&permissions {
		return fmt.Sprintf("%s: mode %s -> %s", changed, octal(base.Mode), octal(host.Mode))
	}
	return ""
}

func typeName(k delta.Kind) string {
	if k == delta.Special {
		return "special file"
	}
	return string(k)
}

// flags says what somebody should look at before the change is made.
func flags(p string, kind delta.Kind, mode uint32, link string, host *delta.Base) []string {
	var out []string
	parts := strings.Split(strings.ToLower(p), "/")
	git := slices.Index(parts, ".git")
	switch {
	case slices.Contains(parts, "hooks") && (git >= 0 || slices.Contains(parts, ".githooks")), slices.Contains(parts, ".husky"), slices.Contains(parts, ".githooks"):
		out = append(out, FlagHook)
	case git >= 0, parts[len(parts)-1] == ".gitmodules", parts[len(parts)-1] == ".gitattributes":
		out = append(out, FlagGit)
	}
	if parts[len(parts)-1] == ".envrc" {
		out = append(out, FlagEnvrc)
	}
	if kind == delta.File && mode&0o111 != 0 && (host == nil || host.Kind != delta.File || host.Mode&0o111 == 0) {
		out = append(out, FlagExecutable)
	}
	if kind == delta.Link && leadsOut(p, link) {
		out = append(out, FlagLinkOut)
	}
	if kind == delta.File && mode&0o6000 != 0 {
		out = append(out, FlagSetuid)
	}
	return out
}

// leadsOut tells whether a link at p leads out of the directory: by its words, and
// so also where another link on the way would.
func leadsOut(p, link string) bool {
	if strings.HasPrefix(link, "/") {
		return true
	}
	to := path.Join(path.Dir(p), link)
	return to == ".." || strings.HasPrefix(to, "../")
}
