// Package vmtest is the test guest: a small virtual machine under qemu's
// emulator, with a Debian kernel and one unified cgroup v2 tree with every
// controller. Limits, pressure, device filters, quotas, a second boot: what the
// machine of the developer cannot show, or must not be asked for, is proved in it
// with the real cove. It needs neither KVM nor root, and nothing is left of it.
//
// Add a test: a function TestGuest... in a file guest_..._test.go with the
// build tag vmtest (`//go:build vmtest`), in cmd/cove for what the program does
// (begin with guestHost(t)) or in a driver's own package. A package
// other than those in the file tests must be named there, with the pattern of its
// tests. TMPDIR is an ext4 file system of 4 GiB. Time runs 10 to 20 times
// slower there: wait for events, never for a while. A test that calls askAgain is
// run once more in a second boot with the same disk, and systemd.
//
//	make test-vm                        all of them, in one guest
//	make test-vm RUN=TestGuestReboot    one
//	make test-vm RUN=. PKG=./runtime/x  all tests of one package
//	runtime/vmtest/vmtest -d bin -- sh -c 'uname -a; ./cove version'   any command
//
// The parts: prepare makes the boot files once, in $XDG_CACHE_HOME/cove-vm;
// vmtest boots a guest and runs a command in it; suite runs test binaries in one
// guest; vmexec is for `go test -exec`; hostns runs what needs no limits in
// namespaces of this machine; vminit is PID 1 of the guest.
package vmtest
