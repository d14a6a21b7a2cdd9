package gpu

import (
	"bufio"
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

const ldconfigLimit = 10 * time.Second

// driverLibraries are the libraries of NVIDIA's driver that the host's linker
// knows, and nvidia-smi. Each lies where it lies on the host, under the name
// that programs ask for; directories that the linker of the sandbox would not
// search are in LD_LIBRARY_PATH.
func driverLibraries(ctx context.Context, version string) (edits, error) {
	if version == "" {
		return edits{}, errors.New("the version of its kernel module is not known")
	}
	ldconfig, err := firstProgram([]string{"/usr/sbin/ldconfig", "/sbin/ldconfig"})
	if err == nil && ldconfig == "" {
		err = errors.New("there is no ldconfig")
	}
	if err != nil {
		return edits{}, err
	}
	out, err := output(ctx, ldconfigLimit, ldconfig, "-p")
	if err != nil {
		return edits{}, err
	}
	var e edits
	var extra []string
	for _, l := range linkerCache(out, architecture()) {
		real, err := trustedLibrary(l.path)
		if err != nil || !strings.HasSuffix(real, ".so."+version) {
			continue
		}
		dir := filepath.Dir(l.path)
		e.mounts = append(e.mounts, readOnly(real, filepath.Join(dir, l.name)))
		if !searched(dir) && !slices.Contains(extra, dir) {
			extra = append(extra, dir)
		}
	}
	if !slices.ContainsFunc(e.mounts, func(m specs.Mount) bool { return filepath.Base(m.Destination) == "libcuda.so.1" }) {
		return edits{}, fmt.Errorf("its library libcuda.so.%s is not among those of ldconfig -p", version)
	}
	for _, path := range smiPaths() {
		// A script would start what is not there.
		if smi, err := trustedProgram(path); err == nil && isELF(smi) {
			e.mounts = append(e.mounts, readOnly(smi, "/usr/bin/nvidia-smi"))
			break
		}
	}
	if len(extra) > 0 {
		e.env = []string{"LD_LIBRARY_PATH=" + strings.Join(extra, ":")}
	}
	return e, nil
}

// isELF tells whether a file is a program of the machine's own.
func isELF(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	magic := make([]byte, 4)
	_, err = io.ReadFull(f, magic)
	return err == nil && string(magic) == elf.ELFMAG
}

// trustedLibrary is the real path of a library that only root can change.
func trustedLibrary(path string) (string, error) {
	real, f, err := openTrusted(path)
	if err != nil {
		return "", err
	}
	return real, f.Close()
}

// searched tells whether the linker looks into the directory by itself, without
// a cache (ld.so(8)): so do those of Debian and of Fedora.
func searched(dir string) bool {
	triplet := map[string]string{"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}[runtime.GOARCH]
	return slices.Contains([]string{"/lib", "/usr/lib", "/lib64", "/usr/lib64", "/lib/" + triplet, "/usr/lib/" + triplet}, dir)
}

// architecture is what ldconfig calls this machine's.
func architecture() string {
	if runtime.GOARCH == "arm64" {
		return "AArch64"
	}
	return "x86-64"
}

// library is one line of the linker's cache.
type library struct{ name, path string }

// linkerCache reads what ldconfig -p prints: "libc.so.6 (libc6,x86-64) => /lib/...".
func linkerCache(out []byte, arch string) []library {
	var list []library
	lines := bufio.NewScanner(bytes.NewReader(out))
	for lines.Scan() {
		left, path, ok := strings.Cut(lines.Text(), " => ")
		name, flags, _ := strings.Cut(strings.TrimSpace(left), " ")
		if !ok || !strings.Contains(flags, arch) || !clean(path) || strings.ContainsRune(name, '/') {
			continue
		}
		l := library{name, path}
		if !slices.ContainsFunc(list, func(have library) bool { return have.name == name && filepath.Dir(have.path) == filepath.Dir(path) }) {
			list = append(list, l)
		}
	}
	return list
}
