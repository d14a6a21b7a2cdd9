package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"cove/runtime/store"
)

// forwarding is what the host's network namespace was set to before the first
// instance of cove made it forward packets. It is kept beside the leases, for
// whichever instance is the last.
type forwarding struct {
	Boot string `json:"boot"`
	// Values are files below /proc/sys/net and what they held.
	Values map[string]string `json:"values"`
	// Strangers are the interfaces that were there, by family ("4", "6"),
	// where forwarding was off: what comes in by them is still not forwarded.
	Strangers map[string][]string `json:"strangers"`
}

const sysNet = "/proc/sys/net/"

// forward makes the host forward packets and returns what it was before. others
// tells whether another instance does so already, or this one from before.
func forward(leaseDir, boot string, names []string, others bool) (forwarding, error) {
	unlock, err := lockForwarding(leaseDir)
	if err != nil {
		return forwarding{}, err
	}
	defer unlock()
	name, err := forwardingFile()
	if err != nil {
		return forwarding{}, err
	}
	var was forwarding
	err = store.ReadJSON(filepath.Join(leaseDir, name), maxForwarding, &was)
	if err != nil || was.Boot != boot || !others {
		if was, err = presentForwarding(boot, names); err != nil {
			return was, err
		}
		data, err := json.Marshal(was)
		if err != nil {
			return was, err
		}
		if err := store.Replace(leaseDir, name, data, false); err != nil {
			return was, fmt.Errorf("write down how the host forwards: %w", err)
		}
	}
	return was, was.set()
}

const maxForwarding = 1 << 20

// presentForwarding reads all that switching forwarding on changes.
func presentForwarding(boot string, names []string) (forwarding, error) {
	was := forwarding{Boot: boot, Values: map[string]string{}, Strangers: map[string][]string{}}
	files := []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"}
	for _, pattern := range []string{"ipv4/conf/*/forwarding", "ipv6/conf/*/forwarding", "ipv6/conf/*/accept_ra"} {
		found, err := filepath.Glob(sysNet + pattern)
		if err != nil {
			return was, err
		}
		for _, f := range found {
			files = append(files, strings.TrimPrefix(f, sysNet))
		}
	}
	for _, f := range files {
		data, err := os.ReadFile(sysNet + f)
		if errors.Is(err, os.ErrNotExist) {
			continue // no IPv6, or an interface that has just gone
		}
		if err != nil {
			return was, fmt.Errorf("read how the host forwards: %w", err)
		}
		was.Values[f] = strings.TrimSpace(string(data))
	}
	for family, file := range map[string]string{"4": "ipv4/ip_forward", "6": "ipv6/conf/all/forwarding"} {
		if was.Values[file] == "0" {
			was.Strangers[family] = slices.Clone(names)
		}
	}
	return was, nil
}

// set switches forwarding on. A host that forwards takes no more routes from
// routers' advertisements unless accept_ra is 2 (the kernel's ip-sysctl), and
// would lose its own.
func (f forwarding) set() error {
	for file, value := range f.Values {
		dir, isRA := strings.CutSuffix(file, "/accept_ra")
		if isRA && value == "1" && f.Values[dir+"/forwarding"] == "0" {
			if err := write(file, "2"); err != nil {
				return err
			}
		}
	}
	for _, file := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
		if f.Values[file] == "0" {
			if err := write(file, "1"); err != nil {
				return err
			}
		}
	}
	return nil
}

// write sets a value, as far as its file is there.
func write(file, value string) error {
	if err := sysctl(file, value); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("make the host forward (%s): %w", file, err)
	}
	return nil
}

// unforward gives back what forward found, unless others still need it.
func unforward(leaseDir string, others func() (bool, error)) error {
	unlock, err := lockForwarding(leaseDir)
	if err != nil {
		return err
	}
	defer unlock()
	if used, err := others(); err != nil || used {
		return err
	}
	name, err := forwardingFile()
	if err != nil {
		return err
	}
	var was forwarding
	if err := store.ReadJSON(filepath.Join(leaseDir, name), maxForwarding, &was); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	}
	var errs []error
	// Those for all interfaces set each of them, so they come first.
	for _, file := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
		if was.Values[file] == "0" {
			errs = append(errs, write(file, "0"))
		}
	}
	for file, value := range was.Values {
		if strings.Contains(file, "/conf/") && !strings.Contains(file, "/conf/all/") {
			if now, err := os.ReadFile(sysNet + file); err == nil && strings.TrimSpace(string(now)) != value {
				errs = append(errs, write(file, value))
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return os.Remove(filepath.Join(leaseDir, name))
}

// forwardingFile is the name of the record of this network namespace.
func forwardingFile() (string, error) {
	var st unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &st); err != nil {
		return "", fmt.Errorf("look at the network namespace: %w", err)
	}
	return fmt.Sprintf("forwarding-%d", st.Ino), nil
}

// lockForwarding keeps two daemons from changing it at once.
func lockForwarding(dir string) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(dir, ".forwarding.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock the host's forwarding: %w", err)
	}
	return func() { _ = f.Close() }, nil
}
