package store

import (
	"fmt"
	"strings"
)

// BootID tells one boot of the machine from the next
// (/proc/sys/kernel/random/boot_id, see random(4)).
func BootID() (string, error) {
	data, err := readProc("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read the boot id: %w", err)
	}
	id := strings.TrimSpace(string(data))
	if id == "" {
		return "", fmt.Errorf("read the boot id: %w: it is empty", ErrCorrupt)
	}
	return id, nil
}
