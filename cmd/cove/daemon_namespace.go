package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"

	"cove/runtime/mount"
)

// namespaceVar tells the daemon's second life in which mount namespace its
// first one put it: an unshare moves one thread only, and an exec makes that
// thread the process.
const namespaceVar = "COVE_MOUNT_NAMESPACE"

// enterPrivateNamespace gives the process a mount namespace of its own, so
// that nothing the daemon mounts is seen outside or outlives it. It does not
// return the first time: the program begins again, inside.
func enterPrivateNamespace() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	here, err := os.Readlink("/proc/thread-self/ns/mnt")
	if err != nil {
		return fmt.Errorf("find out the mount namespace: %w", err)
	}
	if os.Getenv(namespaceVar) == here {
		return os.Unsetenv(namespaceVar)
	}
	if err := mount.EnterPrivateNamespace(); err != nil {
		return err
	}
	if here, err = os.Readlink("/proc/thread-self/ns/mnt"); err != nil {
		return fmt.Errorf("find out the mount namespace: %w", err)
	}
	env := []string{namespaceVar + "=" + here}
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, namespaceVar+"=") {
			env = append(env, kv)
		}
	}
	err = syscall.Exec("/proc/self/exe", os.Args, env)
	return fmt.Errorf("begin again in the private mount namespace: %w", err)
}
