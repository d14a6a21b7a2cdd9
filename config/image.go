package config

import (
	"maps"
	"slices"
	"strings"
)

// HostImage is the image that is this machine's own system.
const HostImage = "host"

// Prefixes of images that are no references to a registry.
const (
	SnapshotPrefix      = "snapshot:"
	OCIPrefix           = "oci:"
	DockerArchivePrefix = "docker-archive:"
)

// SnapshotName gives the name of the snapshot that image is; false where it is none.
func SnapshotName(image string) (string, bool) { return strings.CutPrefix(image, SnapshotPrefix) }

// ImageFile gives the path that the caller has an image at, which the daemon is
// sent what is in; false where image is none of those.
func ImageFile(image string) (kind, path string, ok bool) {
	for _, prefix := range []string{OCIPrefix, DockerArchivePrefix} {
		if path, ok := strings.CutPrefix(image, prefix); ok {
			return strings.TrimSuffix(prefix, ":"), path, true
		}
	}
	return "", "", false
}

// DefaultsFor is [Defaults] with another image.
func DefaultsFor(image string) Spec {
	s := Defaults()
	if image != HostImage && image != "" {
		s.Image = image
		s.otherImage(func(string) bool { return false })
	}
	return s
}

// otherImage forgets what is about the system that the Spec had until now: another
// image has users, shells and directories of its own. keep tells of a key that it is
// said together with the image.
func (s *Spec) otherImage(keep func(key string) bool) {
	if !keep("user") {
		s.User = ""
	}
	if !keep("shell") {
		s.Shell = nil
	}
	if !keep("workdir") {
		s.Workdir = ""
	}
	if !keep("env.PATH") {
		s.Env = maps.Clone(s.Env)
		delete(s.Env, "PATH")
	}
}

// ImageConfig is what an image says of how programs run in it: the config of the
// OCI image specification, as far as it concerns a sandbox. What a Spec says is
// over it.
type ImageConfig struct {
	// Env is "KEY=VALUE", each key once.
	Env []string `json:"env,omitempty"`
	// User is a name or "uid[:gid]" of the image's own user database; empty is root.
	User       string   `json:"user,omitempty"`
	Workdir    string   `json:"workdir,omitempty"`
	Entrypoint []string `json:"entrypoint,omitempty"`
	Cmd        []string `json:"cmd,omitempty"`
	// Shell is what the shell form of a Dockerfile's instructions is run by.
	Shell  []string          `json:"shell,omitempty"`
	Labels map[string]string `json:"labels,omitempty"`
	// ExposedPorts are "PORT/PROTOCOL".
	ExposedPorts []string `json:"exposed_ports,omitempty"`
	StopSignal   string   `json:"stop_signal,omitempty"`
}

// Clone shares nothing with c.
func (c ImageConfig) Clone() ImageConfig {
	c.Env, c.Entrypoint, c.Cmd = slices.Clone(c.Env), slices.Clone(c.Entrypoint), slices.Clone(c.Cmd)
	c.Shell, c.ExposedPorts, c.Labels = slices.Clone(c.Shell), slices.Clone(c.ExposedPorts), maps.Clone(c.Labels)
	return c
}
