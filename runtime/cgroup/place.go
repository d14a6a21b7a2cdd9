package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Remember keeps to the place in which the daemon before had its groups, which it
// noted in the file, while sandboxes are in them: a daemon that is started by
// hand finds those of the one that systemd had started in its unit, and the other
// way round. Then it notes its own. The file belongs in a directory that goes
// with the boot. Called once, before [Tree.Delegate].
func (t *Tree) Remember(file string) error {
	if t.layout.Mode != Unified {
		return nil // there it is always the same
	}
	noted, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read where the control groups are: %w", err)
	}
	if parent := strings.TrimSuffix(string(noted), "\n"); err == nil && parent != t.layout.Parent && t.inhabited(parent) {
		// The unit's group, if it is one, is not where this daemon is: it has
		// nothing to move out of it.
		t.layout.Parent, t.layout.Delegated = parent, false
	}
	if err := os.WriteFile(file, []byte(t.layout.Parent+"\n"), 0o600); err != nil {
		return fmt.Errorf("note where the control groups are: %w", err)
	}
	return nil
}

// inhabited tells whether there are groups of sandboxes of this instance below
// a group.
func (t *Tree) inhabited(parent string) bool {
	if !filepath.IsAbs(parent) || filepath.Clean(parent) != parent {
		return false
	}
	entries, err := os.ReadDir(filepath.Join(t.layout.Hierarchies[0].Path, parent, "cove-"+t.inst))
	return err == nil && slices.ContainsFunc(entries, func(e os.DirEntry) bool { return e.IsDir() })
}
