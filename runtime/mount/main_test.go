package mount

import (
	"fmt"
	"os"
	"syscall"
	"testing"
)

// TestMain runs the tests in a mount namespace of their own, entered the way
// the daemon does it, so that nothing they mount is seen on the host.
func TestMain(m *testing.M) {
	if os.Getuid() == 0 && os.Getenv("COVE_TEST_PRIVATE") == "" {
		err := EnterPrivateNamespace()
		if err == nil {
			err = syscall.Exec("/proc/self/exe", os.Args, append(os.Environ(), "COVE_TEST_PRIVATE=1"))
		}
		fmt.Fprintln(os.Stderr, "cannot enter a private mount namespace:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: mounts and user namespaces are made for real")
	}
}
