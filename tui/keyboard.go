package tui

import (
	"os"
	"sync"
)

// keyboard is the terminal's input as Bubble Tea reads it. While it is being
// handed over to a session, what is still read is kept here instead: Bubble
// Tea would deliver it to the list when the session has ended, where a letter
// stops or restarts a sandbox.
type keyboard struct {
	*os.File

	mu   sync.Mutex
	away bool
	kept []byte
}

// Read reads the terminal, for Bubble Tea.
func (k *keyboard) Read(p []byte) (int, error) {
	n, err := k.File.Read(p)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.away && n > 0 {
		k.kept = append(k.kept, p[:n]...)
		return 0, err
	}
	return n, err
}

// divert keeps what is read from now on.
func (k *keyboard) divert() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.away = true
}

// take returns what was kept and ends that.
func (k *keyboard) take() []byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	b := k.kept
	k.away, k.kept = false, nil
	return b
}
