// Package cgroup is one instance's part of the machine's control groups: where
// it is, what the host can enforce there, what a sandbox uses and what has become of
// it, and how everything in a group is ended and removed. The OCI runtime sets
// the first limits of processor time, memory and processes; this package sets
// those of disks, chooses processors, and changes all of them while a sandbox
// runs.
//
// The part is the group cove-INST in every hierarchy, with one group per sandbox
// below it; nothing else is ever changed, but for the group of the daemon's own
// systemd unit, which systemd hands over (Delegate=yes, with a subgroup).
package cgroup
