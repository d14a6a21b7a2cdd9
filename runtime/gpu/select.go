package gpu

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
)

// Request is what a sandbox asks for: a number of devices, or those it names.
type Request struct {
	Count  int
	IDs    []string
	Shared bool
	// Last are those that it had last, by UUID or CDI name: a number of devices
	// is those again where they are free.
	Last []string
}

// Hold is a device that somebody has.
type Hold struct {
	Holder string
	Claim  Claim
}

// UnknownError is a name that no device has, or none of the machine's.
type UnknownError struct {
	Name string // "" where there is no device at all
	Why  string
}

func (e *UnknownError) Error() string { return e.Why }

// HeldError is a device, or several, that others hold.
type HeldError struct {
	// Want devices were asked for, Free of them could be had; 0 where devices
	// were named.
	Want, Free int
	// Held are the devices that are in others' hands.
	Held []HeldDevice
}

// HeldDevice is a device and who holds it.
type HeldDevice struct {
	Device  Device
	Holders []string
	// Shared says that they share it, and would with who asks for a shared one.
	Shared bool
}

func (e *HeldError) Error() string {
	if len(e.Held) == 0 {
		return "no GPU is free"
	}
	return e.Held[0].Device.String() + " is held"
}

// Select picks the devices of a request: those it names, or as many as it asks
// for, first those it had last, then the lowest that nobody has, then those that
// the fewest share. Nothing is picked twice, whatever it is called. Errors are
// *[UnknownError] and *[HeldError].
func Select(devices []Device, r Request, holds []Hold) ([]Device, error) {
	if r.Count == 0 && len(r.IDs) == 0 {
		return nil, nil
	}
	if len(devices) == 0 {
		return nil, &UnknownError{Why: "this machine has no GPU"}
	}
	if len(r.IDs) > 0 {
		return selectNamed(devices, r, holds)
	}
	return selectCount(devices, r, holds)
}

func selectNamed(devices []Device, r Request, holds []Hold) ([]Device, error) {
	var picked []Device
	var words []string
	refused := &HeldError{}
	for _, word := range r.IDs {
		d, err := byName(devices, word)
		if err != nil {
			return nil, err
		}
		if i := slices.IndexFunc(picked, func(p Device) bool { return overlap(p.keys, p.parts, d.keys, d.parts) }); i >= 0 {
			return nil, &UnknownError{Name: word, Why: fmt.Sprintf("%q and %q are the same GPU, or a part of it", words[i], word)}
		}
		picked, words = append(picked, d), append(words, word)
		if h, ok := free(d, r.Shared, holds); !ok {
			refused.Held = append(refused.Held, h)
		}
	}
	if len(refused.Held) > 0 {
		return nil, refused
	}
	return picked, nil
}

// byName finds the device that a word of a profile's means.
func byName(devices []Device, word string) (Device, error) {
	if n, err := strconv.Atoi(word); err == nil {
		if n >= 0 && n < len(devices) {
			return devices[n], nil
		}
		return Device{}, &UnknownError{Name: word, Why: fmt.Sprintf("there is no GPU %s: this machine has %s", word, upTo(len(devices)))}
	}
	var found []Device
	for i := range devices {
		if devices[i].called(word) {
			found = append(found, devices[i])
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return Device{}, &UnknownError{Name: word, Why: fmt.Sprintf("there is no GPU %q", word)}
	}
	return Device{}, &UnknownError{Name: word, Why: fmt.Sprintf("%q is %s and %s: name it in full", word, found[0].ID, found[1].ID)}
}

func upTo(n int) string {
	if n == 1 {
		return "GPU 0 only"
	}
	return fmt.Sprintf("GPUs 0 to %d", n-1)
}

func selectCount(devices []Device, r Request, holds []Hold) ([]Device, error) {
	type candidate struct {
		d       Device
		last    bool
		holders int
	}
	var can []candidate
	refused := &HeldError{Want: r.Count}
	for _, d := range devices {
		h, ok := free(d, r.Shared, holds)
		if !ok {
			refused.Held = append(refused.Held, h)
			continue
		}
		had := slices.ContainsFunc(r.Last, func(name string) bool { return d.called(name) })
		can = append(can, candidate{d, had, len(h.Holders)})
	}
	slices.SortStableFunc(can, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(b2i(b.last), b2i(a.last)), cmp.Compare(a.holders, b.holders))
	})
	var picked []Device
	for _, c := range can {
		if len(picked) < r.Count && !slices.ContainsFunc(picked, func(p Device) bool { return overlap(p.keys, p.parts, c.d.keys, c.d.parts) }) {
			picked = append(picked, c.d)
		}
	}
	switch {
	case len(picked) == r.Count:
		return picked, nil
	case len(refused.Held) == 0 || r.Count > len(devices):
		return nil, &UnknownError{Why: fmt.Sprintf("%d GPUs are asked for: this machine has %s", r.Count, upTo(len(devices)))}
	}
	refused.Free = len(picked)
	return nil, refused
}

// free tells whether who wants the device can have it, and who has it now.
func free(d Device, shared bool, holds []Hold) (HeldDevice, bool) {
	h := HeldDevice{Device: d, Shared: true}
	ok := true
	for i := range holds {
		c := &holds[i].Claim
		if !c.Takes(&d) {
			continue
		}
		h.Holders = append(h.Holders, holds[i].Holder)
		h.Shared = h.Shared && c.Shared
		ok = ok && shared && c.Shared
	}
	h.Shared = h.Shared && len(h.Holders) > 0
	return h, ok
}
