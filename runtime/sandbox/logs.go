package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"cove/runtime/lifecycle"
)

// KeptLog is what is kept outside of a sandbox of what was printed in it.
type KeptLog struct {
	// Source is setup for the setup steps, without the values of secrets, and
	// pre_stop for the command before the last stop, which only the daemon
	// under which it ran remembers.
	Source  string
	Text    []byte
	Written time.Time // when it ended
}

// maxSetupLog bounds what is read of a setup.log.
const maxSetupLog = setupHead + setupTail + 4<<10

// Logs returns what is kept of what a sandbox's programs printed, in any state,
// the oldest first, and the way to the PID 1 that has kept the rest, where it is
// started. To read it is no use of the sandbox.
func (m *Manager) Logs(ctx context.Context, c Caller, ref string) ([]KeptLog, *Guest, error) {
	b, err := m.find(c, ref)
	if err != nil {
		return nil, nil, err
	}
	setup, err := readSetupLog(filepath.Join(m.stateDir(b.id), setupFile))
	if err != nil {
		return nil, nil, fmt.Errorf("read what the setup printed: %w", err)
	}
	b.mu.Lock()
	kept := []KeptLog{setup}
	if b.hook.Source != "" {
		kept = append(kept, b.hook)
	}
	runs := lifecycle.Check(lifecycle.OpExec, b.entering()) == lifecycle.Allowed
	b.mu.Unlock()
	if !runs {
		return kept, nil, nil
	}
	g, err := m.Guest(ctx, c, ref, "")
	return kept, g, err
}

func readSetupLog(path string) (KeptLog, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, os.ErrNotExist) {
		return KeptLog{}, nil // there were no steps
	}
	if err != nil {
		return KeptLog{}, err
	}
	defer func() { _ = f.Close() }()
	st, err := f.Stat()
	if err != nil {
		return KeptLog{}, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxSetupLog))
	return KeptLog{Source: "setup", Text: text, Written: st.ModTime().UTC()}, err
}
