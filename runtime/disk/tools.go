package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// The programs of e2fsprogs that disks need.
const (
	mke2fs    = "mke2fs"
	e2fsck    = "e2fsck"
	resize2fs = "resize2fs"
)

// toolDirs are where distributions put them; PATH is never searched.
func toolDirs() []string { return []string{"/usr/sbin", "/sbin", "/usr/bin"} }

// tool finds a program of e2fsprogs that only root can change.
func tool(name string) (string, error) {
	for _, dir := range toolDirs() {
		path := filepath.Join(dir, name)
		info, err := os.Stat(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("find %s: %w", name, err)
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok || !info.Mode().IsRegular() || st.Uid != 0 || info.Mode().Perm()&0o022 != 0 {
			return "", fmt.Errorf("%w: %s could be changed by others than root", ErrTools, path)
		}
		return path, nil
	}
	return "", fmt.Errorf("%w: there is no %s in %s; install the package e2fsprogs", ErrTools, name, strings.Join(toolDirs(), ", "))
}

// exitError is what a program ended with that ran and did not succeed.
type exitError struct {
	tool string
	code int
	said string // the end of what it wrote
}

func (e *exitError) Error() string {
	return fmt.Sprintf("%s: exit status %d: %s", e.tool, e.code, e.said)
}

// maxSaid is how much of a program's output is kept for messages.
const maxSaid = 512

// runTool runs a program of e2fsprogs on the image: as file descriptor 3, so that a
// lock on it is held for as long as the program runs, even when this process is
// killed. In args, imageArg stands for its path.
func runTool(ctx context.Context, image *os.File, name string, args ...string) error {
	path, err := tool(name)
	if err != nil {
		return err
	}
	for i, a := range args {
		if a == imageArg {
			args[i] = "/proc/self/fd/3"
		}
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = "/"
	// Its defaults are ours, not the host's; and no file of the host's is asked
	// whether the image is mounted.
	cmd.Env = []string{"LC_ALL=C", "MKE2FS_CONFIG=/dev/null", "MKE2FS_SYNC=0", "E2FSCK_CONFIG=/dev/null"}
	cmd.ExtraFiles = []*os.File{image}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", name, context.Cause(ctx))
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		said := strings.Join(strings.Fields(out.String()), " ")
		if len(said) > maxSaid {
			said = "... " + said[len(said)-maxSaid:]
		}
		return &exitError{tool: name, code: exit.ExitCode(), said: said}
	}
	if err != nil {
		return fmt.Errorf("run %s: %w", name, err)
	}
	return nil
}

// imageArg stands for the image among a program's arguments.
const imageArg = "\x00image"
