package gpu

import (
	"fmt"
	"slices"
	"strings"
)

// Device is one GPU, or one part of a GPU that was divided (MIG).
type Device struct {
	// ID is its CDI name, "nvidia.com/gpu=0"; Names are all that it has, ID first.
	ID    string
	Names []string
	// Index is its place among all devices.
	Index int
	// UUID is the vendor's name for it, "GPU-..." or "MIG-...", where it has one.
	UUID   string
	Vendor string
	Model  string
	// Nodes are the device nodes that come with it, as paths inside.
	Nodes []string
	// Source is where it was found: a file, "nvidia-ctk", "the nvidia driver", "amdgpu".
	Source string

	// keys name what makes it a thing of its own, whatever it is called: its
	// device nodes by number, less those that all devices of a driver share.
	keys  []string
	parts []string // of the keys those of a divided GPU's part
	edits edits
	drm   string // the name of its render node in /sys/class/drm, of AMD's
}

// String names the device for people: "gpu 0 (NVIDIA H200)".
func (d *Device) String() string {
	what := d.Model
	if what == "" {
		what = d.ID
	}
	return fmt.Sprintf("gpu %d (%s)", d.Index, what)
}

// Claim is a device that is held, in a form that is kept: it is understood also
// when the device has another name or place by then.
type Claim struct {
	ID     string   `json:"id"`
	UUID   string   `json:"uuid,omitempty"`
	Keys   []string `json:"keys"`
	Parts  []string `json:"parts,omitempty"`
	DRM    string   `json:"drm,omitempty"`
	Shared bool     `json:"shared,omitempty"`
}

// Claim is what the holder of the device keeps.
func (d *Device) Claim(shared bool) Claim {
	return Claim{ID: d.ID, UUID: d.UUID, Keys: slices.Clone(d.keys), Parts: slices.Clone(d.parts), DRM: d.drm, Shared: shared}
}

// Takes tells whether who holds the claim has the device, or a part of it, or
// something that it is a part of.
func (c *Claim) Takes(d *Device) bool { return overlap(c.Keys, c.Parts, d.keys, d.parts) }

// overlap tells whether two devices are, in part, one. Parts of a divided GPU
// share its node and are none of each other's.
func overlap(keys, parts, otherKeys, otherParts []string) bool {
	if len(parts) > 0 && len(otherParts) > 0 {
		return within(parts, otherParts) || within(otherParts, parts)
	}
	return slices.ContainsFunc(keys, func(k string) bool { return slices.Contains(otherKeys, k) })
}

// within tells whether all of a is in b.
func within(a, b []string) bool {
	return !slices.ContainsFunc(a, func(s string) bool { return !slices.Contains(b, s) })
}

// called tells whether a profile's word names the device: one of its CDI names,
// in full or without the kind, or its UUID.
func (d *Device) called(word string) bool {
	if word == d.UUID && word != "" || slices.Contains(d.Names, word) {
		return true
	}
	return slices.ContainsFunc(d.Names, func(name string) bool {
		_, bare, _ := strings.Cut(name, "=")
		return bare == word
	})
}

// Inventory is what was found.
type Inventory struct {
	Devices []Device
	// Problems are descriptions of devices that are not used, and why.
	Problems []Problem
	// Looked are the places that were looked in, in words.
	Looked []string
}

// Problem is a description of devices that is not used.
type Problem struct {
	Source string // the file, or the device in it
	Why    string
}
