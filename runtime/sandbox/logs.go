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

// SetupLog is what the setup steps of a sandbox printed the last time they ran,
// without the values of secrets.
type SetupLog struct {
	Text    []byte
	Written time.Time // when they ended
}

// maxSetupLog bounds what is read of a setup.log.
const maxSetupLog = setupHead + setupTail + 4<<10

// Logs returns what is kept on disk of what a sandbox's programs printed, in any
// state, and the way to the PID 1 that has kept the rest, where it is started.
func (m *Manager) Logs(ctx context.Context, c Caller, ref string) (SetupLog, *Guest, error) {
	b, err := m.find(c, ref)
	if err != nil {
		return SetupLog{}, nil, err
	}
	setup, err := readSetupLog(filepath.Join(m.stateDir(b.id), setupFile))
	if err != nil {
		return SetupLog{}, nil, fmt.Errorf("read what the setup printed: %w", err)
	}
	if lifecycle.Check(lifecycle.OpExec, b.snapshot().State) != lifecycle.Allowed {
		return setup, nil, nil
	}
	g, err := m.Guest(ctx, c, ref)
	return setup, g, err
}

func readSetupLog(path string) (SetupLog, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, os.ErrNotExist) {
		return SetupLog{}, nil // there were no steps
	}
	if err != nil {
		return SetupLog{}, err
	}
	defer func() { _ = f.Close() }()
	st, err := f.Stat()
	if err != nil {
		return SetupLog{}, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxSetupLog))
	return SetupLog{Text: text, Written: st.ModTime().UTC()}, err
}
