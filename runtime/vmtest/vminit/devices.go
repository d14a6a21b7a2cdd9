package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// loadModules loads the modules in dir that its file order names, in that order.
func loadModules(dir string) error {
	f, err := os.Open(filepath.Join(dir, "order"))
	if err != nil {
		return err
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	for s.Scan() {
		name := strings.TrimSpace(s.Text())
		if name == "" {
			continue
		}
		if err := insmod(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return s.Err()
}

func insmod(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("load %s: %w", path, err)
	}
	return nil
}

// port finds the virtio-serial port of that name.
func port(name string, flag int) (*os.File, error) {
	var f *os.File
	err := await("the port "+name, func() bool {
		found := bySysfs("/sys/class/virtio-ports/*/name", name)
		if found == "" {
			return false
		}
		var err error
		f, err = os.OpenFile("/dev/"+found, flag, 0)
		return err == nil
	})
	return f, err
}

// disk finds a virtio disk by the serial that qemu was told, so that the order
// of probing does not matter.
func disk(serial string) (string, error) {
	var found string
	err := await("the disk "+serial, func() bool {
		found = bySysfs("/sys/block/*/serial", serial)
		return found != ""
	})
	return "/dev/" + found, err
}

// bySysfs gives the name of the device one of whose attributes, by a pattern
// of paths, has the value.
func bySysfs(pattern, value string) string {
	paths, _ := filepath.Glob(pattern) // the pattern is well-formed
	for _, p := range paths {
		if b, err := os.ReadFile(p); err == nil && strings.TrimSpace(string(b)) == value {
			return filepath.Base(filepath.Dir(p))
		}
	}
	return ""
}
