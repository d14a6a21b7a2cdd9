// Package cgroup is one instance's part of the machine's control groups: where
// it is, what the host can enforce there, how many processes the kernel has
// killed for memory, and how everything in a group is ended and removed. The
// limits themselves are set by the OCI runtime.
//
// The part is the group cove-INST in every hierarchy, with one group per sandbox
// below it; nothing else is ever changed, but for the group of the daemon's own
// systemd unit, which systemd hands over (Delegate=yes).
package cgroup
