// Package oci turns the description of a sandbox into an OCI bundle: pure
// functions from [Input] to the runtime's config.json, so that what confines a
// sandbox can be read in one place and compared with golden files.
//
// What the bundle promises: its own user, pid, mount, uts, ipc, network and
// cgroup namespaces; root inside is the unprivileged uid [Input.UIDBase]
// outside; the network namespace has loopback and nothing else; moby's default
// seccomp profile for the native architecture; no capability over devices, raw
// sockets or the audit log; the paths of /proc and /sys that tell of or change
// the host are masked or read-only.
package oci
