package rootfs

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// layoutVersion changes whenever this package builds another skeleton from the
// same host.
const layoutVersion = 2

// packageDBs are files that every change of the host's packages touches.
func packageDBs() []string {
	return strings.Fields(`
var/lib/dpkg/status usr/lib/sysimage/rpm/rpmdb.sqlite usr/lib/sysimage/rpm/Packages.db var/lib/rpm/rpmdb.sqlite
var/lib/rpm/Packages var/lib/rpm/Packages.db var/lib/pacman/local lib/apk/db/installed usr/lib/apk/db/installed
`)
}

// generation names this state of the host: the same name means that a skeleton
// built before is still right. It takes well under a millisecond.
func generation(root string) (string, error) {
	h := sha256.New()
	fmt.Fprintf(h, "layout %d\n", layoutVersion)
	f, err := os.Open(filepath.Join(root, "usr/lib/os-release"))
	if err == nil {
		_, err = io.Copy(h, io.LimitReader(f, 1<<20))
		err = errors.Join(err, f.Close())
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("read os-release: %w", err)
	}
	paths := append(packageDBs(), "etc/passwd", "etc/group", "etc/shadow", "etc/skel", "usr/bin/sudo", "usr/bin/bash")
	for _, p := range etcAllowed() {
		paths = append(paths, "etc/"+p)
	}
	for _, p := range append(paths, topLinks()...) {
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(root, p), &st); err != nil {
			if absent(err) {
				continue
			}
			return "", fmt.Errorf("stat %s: %w", p, err)
		}
		fmt.Fprintf(h, "%s %o %d %d.%09d\n", p, st.Mode, st.Size, st.Mtim.Sec, st.Mtim.Nsec)
	}
	return hex.EncodeToString(h.Sum(nil)[:8]), nil
}

// topLinks are the directories of the root that a merged /usr turned into
// links.
func topLinks() []string { return []string{"bin", "sbin", "lib", "lib32", "lib64", "libx32"} }
