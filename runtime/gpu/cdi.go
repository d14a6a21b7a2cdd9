package gpu

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	"tags.cncf.io/container-device-interface/pkg/parser"
	cdi "tags.cncf.io/container-device-interface/specs-go"

	"golang.org/x/sys/unix"
)

// DefaultDirs are where CDI specifications lie, the later before the earlier
// (SPEC.md, "CDI JSON Specification"). /var/run is a link to /run (FHS 3.0).
func DefaultDirs() []string { return []string{"/etc/cdi", "/run/cdi"} }

const (
	// maxSpec is the size of a specification; NVIDIA's have some 20 KB for each
	// card of a machine.
	maxSpec = 1 << 20
	// maxSpecs is how many files a directory may have.
	maxSpecs = 256
	// gpuClass is the class of CDI kinds that are GPUs: nvidia.com/gpu.
	gpuClass = "gpu"
	// allName is the CDI device that is all of a kind's at once.
	allName = "all"
)

// found is one device of one specification.
type found struct {
	id, bare    string
	vendor      string
	source      string
	priority    int
	own, common edits
	uuid, model string // where the finder knows them
	drm         string
	keys, parts []string
}

// readDirs reads the specifications in the directories.
func readDirs(dirs []string) (all []found, problems []Problem) {
	for priority, path := range dirs {
		files, err := readDir(path)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			problems = append(problems, Problem{path, err.Error()})
		}
		for _, f := range files {
			list, err := f.devices, f.err
			if err != nil {
				problems = append(problems, Problem{f.path, err.Error()})
			}
			for i := range list {
				list[i].priority = priority
			}
			all = append(all, list...)
		}
	}
	return all, problems
}

type specFile struct {
	path    string
	devices []found
	err     error
}

func readDir(path string) ([]specFile, error) {
	dir, err := openTrustedDir(path)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(maxSpecs + 1)
	if err != nil && len(names) == 0 {
		return nil, nil // it is empty: io.EOF
	}
	if len(names) > maxSpecs {
		return nil, fmt.Errorf("it has more than %d files", maxSpecs)
	}
	slices.Sort(names)
	var files []specFile
	for _, name := range names {
		if ext := filepath.Ext(name); ext != ".json" && ext != ".yaml" && ext != ".yml" {
			continue
		}
		f := specFile{path: filepath.Join(path, name)}
		data, err := readTrusted(dir, name, maxSpec)
		switch {
		case errors.Is(err, unix.ELOOP):
			f.err = errors.New("it is a link")
		case err != nil:
			f.err = err
		default:
			f.devices, f.err = parse(data, f.path)
		}
		files = append(files, f)
	}
	return files, nil
}

// parse reads one specification, JSON or YAML. Of a kind that is no GPU it gives
// nothing. A device with something that cove does not do is left out, and is
// the error.
func parse(data []byte, source string) ([]found, error) {
	var spec cdi.Spec
	dec := yaml.NewDecoder(bytes.NewReader(data)) // JSON is YAML
	dec.KnownFields(true)
	if err := dec.Decode(&spec); err != nil {
		return nil, fmt.Errorf("it is no CDI specification: %w", err)
	}
	vendor, class := parser.ParseQualifier(spec.Kind)
	if err := cmp.Or(cdi.ValidateVersion(&spec), parser.ValidateVendorName(vendor), parser.ValidateClassName(class)); err != nil {
		return nil, fmt.Errorf("it is no CDI specification: %w", err)
	}
	if class != gpuClass {
		return nil, nil
	}
	common, err := checkEdits(&spec.ContainerEdits)
	if err != nil {
		return nil, err
	}
	var list []found
	var bad refusals
	seen := map[string]bool{}
	for i := range spec.Devices {
		d := &spec.Devices[i]
		if err := parser.ValidateDeviceName(d.Name); err != nil {
			return nil, err
		}
		if seen[d.Name] {
			return nil, fmt.Errorf("it has two devices %q", d.Name)
		}
		seen[d.Name] = true
		f := found{id: parser.QualifiedName(vendor, class, d.Name), bare: d.Name, vendor: vendor, source: source, common: common}
		if f.own, err = checkEdits(&d.ContainerEdits); err == nil {
			err = f.identify()
		}
		if err != nil {
			bad.add(d.Name, err)
			continue
		}
		list = append(list, f)
	}
	return list, bad.err()
}

// refusals are devices that are not used, and why: each reason once.
type refusals struct {
	names map[string][]string
	why   []string
}

func (r *refusals) add(name string, err error) {
	why := err.Error()
	if r.names == nil {
		r.names = map[string][]string{}
	}
	if r.names[why] == nil {
		r.why = append(r.why, why)
	}
	r.names[why] = append(r.names[why], name)
}

func (r *refusals) err() error {
	var parts []string
	for _, why := range r.why {
		parts = append(parts, strings.Join(r.names[why], ", ")+": "+why)
	}
	if parts == nil {
		return nil
	}
	return errors.New(strings.Join(parts, "; "))
}

// shared tells whether a device node is that of a driver, which comes with each
// of its devices.
func shared(host string) bool {
	switch host {
	case "/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia-modeset", "/dev/kfd":
		return true
	}
	return strings.HasPrefix(host, "/dev/nvidia-caps-imex-channels/")
}

// identify finds out what makes the device a thing of its own.
func (f *found) identify() error {
	for _, n := range f.own.nodes {
		if shared(n.host) {
			continue
		}
		rdev, err := number(n.host)
		if err != nil {
			return err
		}
		f.keys = append(f.keys, key(rdev))
		if strings.HasPrefix(n.host, "/dev/nvidia-caps/") {
			f.parts = append(f.parts, key(rdev))
		}
		if dir, name := filepath.Split(n.host); dir == "/dev/dri/" && strings.HasPrefix(name, "renderD") {
			f.drm = name
		}
	}
	if len(f.keys) == 0 {
		f.keys = []string{f.id}
	}
	slices.Sort(f.keys)
	f.keys = slices.Compact(f.keys)
	slices.Sort(f.parts)
	f.parts = slices.Compact(f.parts)
	return nil
}

// collect makes devices of what was found: each once, under all its names, in an
// order that stays. A name that two specifications of one directory have is
// nobody's (SPEC.md); of two directories the later one's counts.
func collect(all []found) (devices []Device, problems []Problem) {
	byID := map[string]found{}
	twice := map[string]string{}
	for _, f := range all {
		before, there := byID[f.id]
		if there && before.priority == f.priority {
			twice[f.id] = before.source
		}
		if !there || f.priority >= before.priority {
			byID[f.id] = f
		}
	}
	for id, other := range twice {
		if f := byID[id]; f.source != other {
			problems = append(problems, Problem{f.source, fmt.Sprintf("%s is in %s too", id, other)})
		}
		delete(byID, id)
	}
	kinds := map[string]int{}
	for id := range byID {
		kinds[kindOf(id)]++
	}
	groups := map[string][]found{}
	for id, f := range byID {
		if f.bare == allName && kinds[kindOf(id)] > 1 {
			continue // the others are what it is made of
		}
		group := strings.Join(f.keys, " ")
		groups[group] = append(groups[group], f)
	}
	for _, group := range slices.Sorted(maps.Keys(groups)) {
		devices = append(devices, merge(groups[group]))
	}
	slices.SortFunc(devices, func(a, b Device) int {
		return cmp.Or(cmp.Compare(rank(a.Vendor), rank(b.Vendor)), cmp.Compare(a.Vendor, b.Vendor), natural(a.ID, b.ID))
	})
	for i := range devices {
		devices[i].Index = i
	}
	slices.SortFunc(problems, func(a, b Problem) int { return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Why, b.Why)) })
	return devices, problems
}

func kindOf(id string) string {
	kind, _, _ := strings.Cut(id, "=")
	return kind
}

// merge makes one device of all that is found of it. Its own name is one that is no
// UUID, of a vendor that is known, the shortest.
func merge(group []found) Device {
	slices.SortFunc(group, func(a, b found) int {
		return cmp.Or(cmp.Compare(b2i(isUUID(a.bare)), b2i(isUUID(b.bare))), cmp.Compare(rank(vendorName(a.vendor)), rank(vendorName(b.vendor))), cmp.Compare(len(a.id), len(b.id)), cmp.Compare(a.id, b.id))
	})
	first := group[0]
	d := Device{
		ID: first.id, Vendor: vendorName(first.vendor), Source: first.source, keys: first.keys, parts: first.parts, drm: first.drm,
		edits: first.common.with(first.own),
	}
	for _, f := range group {
		d.Names = append(d.Names, f.id)
		if d.UUID = cmp.Or(d.UUID, f.uuid); d.UUID == "" && isUUID(f.bare) {
			d.UUID = f.bare
		}
		d.Model = cmp.Or(d.Model, f.model)
	}
	for _, n := range d.edits.nodes {
		if !slices.Contains(d.Nodes, n.path) {
			d.Nodes = append(d.Nodes, n.path)
		}
	}
	return d
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func isUUID(name string) bool {
	return strings.HasPrefix(name, "GPU-") || strings.HasPrefix(name, "MIG-")
}

const (
	nvidia = "NVIDIA"
	amd    = "AMD"
)

func vendorName(domain string) string {
	switch domain {
	case "nvidia.com":
		return nvidia
	case "amd.com":
		return amd
	}
	return domain
}

// rank orders vendors: those that are not known come last.
func rank(vendor string) int {
	known := []string{nvidia, amd}
	if i := slices.Index(known, vendor); i >= 0 {
		return i
	}
	return len(known)
}

// natural compares names with the numbers in them as numbers.
func natural(a, b string) int {
	digits := func(s string) int { return len(s) - len(strings.TrimLeft(s, "0123456789")) }
	for a != "" && b != "" {
		if n, m := digits(a), digits(b); n > 0 && m > 0 {
			x, errX := strconv.Atoi(a[:n])
			y, errY := strconv.Atoi(b[:m])
			if c := cmp.Or(cmp.Compare(b2i(errX != nil), b2i(errY != nil)), cmp.Compare(x, y), cmp.Compare(n, m)); c != 0 {
				return c
			}
			a, b = a[n:], b[m:]
			continue
		}
		if a[0] != b[0] {
			return cmp.Compare(a[0], b[0])
		}
		a, b = a[1:], b[1:]
	}
	return cmp.Compare(len(a), len(b))
}
