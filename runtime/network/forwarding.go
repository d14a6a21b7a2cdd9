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
	// Links are the interfaces that were there.
	Links []string `json:"links"`
}

const sysNet = "/proc/sys/net/"

// strangers are the interfaces by which others come, where forwarding was off
// for the family: what comes in by them is still not forwarded. Those that came
// later belong to somebody who knows what they are for.
func (f forwarding) strangers(file string) []string {
	if f.Values[file] == "0" {
		return f.Links
	}
	return nil
}

// The files that switch forwarding on and off.
const (
	forward4 = "ipv4/ip_forward"
	forward6 = "ipv6/conf/all/forwarding"
)

// forward makes the host forward packets and returns what it was before the
// first instance of cove did so. links are the interfaces there are.
func forward(leaseDir, boot string, links []string) (forwarding, error) {
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
	if err != nil || was.Boot != boot {
		if was, err = presentForwarding(boot, links); err != nil {
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
func presentForwarding(boot string, links []string) (forwarding, error) {
	was := forwarding{Boot: boot, Values: map[string]string{}, Links: links}
	files := []string{forward4, forward6}
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
	for _, file := range []string{forward4, forward6} {
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

// unforward gives back what forward found, unless another instance still needs
// it. Where an interface has come that is not cove's it stays as it is: a
// container engine switches forwarding on too, and found it on.
func unforward(leaseDir string, look func() (others bool, links []string, err error)) error {
	unlock, err := lockForwarding(leaseDir)
	if err != nil {
		return err
	}
	defer unlock()
	others, links, err := look()
	if err != nil || others {
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
	for _, l := range links {
		if !slices.Contains(was.Links, l) {
			return os.Remove(filepath.Join(leaseDir, name))
		}
	}
	var errs []error
	// Those for all interfaces set each of them, so they come first.
	for _, file := range []string{forward4, forward6} {
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

// forwardingFile is the name of the record of this network namespace. Its
// cookie is never another's in one boot (SO_NETNS_COOKIE, Linux 5.14).
func forwardingFile() (string, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("look at the network namespace: %w", err)
	}
	defer unix.Close(fd)
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil {
		return "", fmt.Errorf("tell the network namespace from others: %w", err)
	}
	return fmt.Sprintf("forwarding-%d", cookie), nil
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
