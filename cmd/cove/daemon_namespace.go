package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"cove/runtime/mount"
)

// namespaceVar tells the daemon's second life in which mount namespace its
// first one put it: an unshare moves one thread only, and an exec makes that
// thread the process.
const namespaceVar = "COVE_MOUNT_NAMESPACE"

// machineVar tells it the descriptor of the mount namespace that it left: the
// machine's, in which callers open the directories of their mounts.
const machineVar = "COVE_MACHINE_NAMESPACE"

// enterPrivateNamespace gives the process a mount namespace of its own, so
// that nothing the daemon mounts is seen outside or outlives it. It does not
// return the first time: the program begins again, inside. Then it gives the
// namespace that was left, which the caller closes.
func enterPrivateNamespace() (*mount.Namespace, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	here, err := os.Readlink("/proc/thread-self/ns/mnt")
	if err != nil {
		return nil, fmt.Errorf("find out the mount namespace: %w", err)
	}
	if os.Getenv(namespaceVar) == here {
		return leftNamespace()
	}
	// Without O_CLOEXEC: it is for the next life.
	left, err := unix.Open("/proc/thread-self/ns/mnt", unix.O_RDONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("open the mount namespace: %w", err)
	}
	defer unix.Close(left)
	if err := mount.EnterPrivateNamespace(); err != nil {
		return nil, err
	}
	if here, err = os.Readlink("/proc/thread-self/ns/mnt"); err != nil {
		return nil, fmt.Errorf("find out the mount namespace: %w", err)
	}
	env := []string{namespaceVar + "=" + here, machineVar + "=" + strconv.Itoa(left)}
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, namespaceVar+"=") && !strings.HasPrefix(kv, machineVar+"=") {
			env = append(env, kv)
		}
	}
	err = syscall.Exec("/proc/self/exe", os.Args, env)
	return nil, fmt.Errorf("begin again in the private mount namespace: %w", err)
}

// leftNamespace is the namespace that the first life left.
func leftNamespace() (*mount.Namespace, error) {
	fd, err := strconv.Atoi(os.Getenv(machineVar))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", machineVar, err)
	}
	if err := errors.Join(os.Unsetenv(namespaceVar), os.Unsetenv(machineVar)); err != nil {
		return nil, err
	}
	return mount.InheritedNamespace(fd)
}
