package gpu

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

const (
	// ctkLimit is what nvidia-ctk may take: it asks every card.
	ctkLimit = 30 * time.Second
	// ctkAgain is how long its failure is believed.
	ctkAgain = time.Minute
)

// nvidiaCards is where NVIDIA's kernel driver describes its cards.
const nvidiaCards = "/proc/driver/nvidia/gpus"

// ctkPaths are where nvidia-ctk is installed; a daemon of root's searches no PATH.
func ctkPaths() []string {
	return []string{"/usr/bin/nvidia-ctk", "/usr/local/bin/nvidia-ctk", "/usr/local/nvidia/toolkit/nvidia-ctk", driverBin + "/nvidia-ctk"}
}

// card is a card as NVIDIA's kernel driver describes it.
type card struct {
	model, uuid string
	minor       int
}

// nvidiaCache keeps what costs programs to find out, for as long as the driver
// and its nodes are the same.
type nvidiaCache struct {
	of       string // what it was found out of
	until    time.Time
	found    []found
	problems []Problem
}

// cards are the cards that NVIDIA's kernel driver has, by their minor numbers.
func (d *Driver) cards() []card {
	dirs, err := os.ReadDir(d.root + nvidiaCards)
	if err != nil {
		return nil // no driver
	}
	var list []card
	for _, dir := range dirs {
		text, err := os.ReadFile(filepath.Join(d.root+nvidiaCards, dir.Name(), "information"))
		if err != nil {
			continue
		}
		c := card{minor: -1}
		for line := range strings.Lines(string(text)) {
			k, v, _ := strings.Cut(line, ":")
			switch v = strings.TrimSpace(v); strings.TrimSpace(k) {
			case "Model":
				c.model = v
			case "GPU UUID":
				if isUUID(v) && !strings.Contains(v, "?") { // not asked for yet
					c.uuid = v
				}
			case "Device Minor":
				if n, err := strconv.Atoi(v); err == nil {
					c.minor = n
				}
			}
		}
		if c.minor >= 0 {
			list = append(list, c)
		}
	}
	slices.SortFunc(list, func(a, b card) int { return a.minor - b.minor })
	return list
}

// describe adds what the kernel knows of devices, whoever found them.
func (d *Driver) describe(devices []Device) {
	cards := d.cards()
	for i := range devices {
		dev := &devices[i]
		for _, c := range cards {
			if dev.Vendor != nvidia || !slices.ContainsFunc(dev.edits.nodes, func(n node) bool { return n.host == fmt.Sprintf("%s/dev/nvidia%d", d.root, c.minor) }) {
				continue
			}
			if dev.Model == "" {
				dev.Model = c.model
			}
			if len(dev.parts) > 0 {
				if !strings.Contains(dev.Model, "MIG") {
					dev.Model += " MIG"
				}
			} else if dev.UUID == "" {
				dev.UUID = c.uuid
			}
		}
		if dev.drm != "" && dev.Model == "" {
			dev.Model = d.amdModel(dev.drm)
		}
	}
}

// findNVIDIA asks nvidia-ctk for a specification, and without it makes its own.
// The caller holds d.mu.
func (d *Driver) findNVIDIA(ctx context.Context) ([]found, []Problem) {
	cards := d.cards()
	if len(cards) == 0 {
		d.nvidia = nvidiaCache{}
		return nil, nil
	}
	version := d.nvidiaVersion()
	nodes, _ := filepath.Glob("/dev/nvidia*") // only a bad pattern fails
	parts, _ := filepath.Glob("/dev/nvidia-caps/*")
	of := fmt.Sprint(version, cards, nodes, parts)
	if c := &d.nvidia; c.of == of && (c.until.IsZero() || time.Now().Before(c.until)) {
		return c.found, c.problems
	}
	c := nvidiaCache{of: of}
	ctk, err := firstProgram(ctkPaths())
	if err == nil && ctk != "" {
		var out []byte
		if out, err = output(ctx, ctkLimit, ctk, "cdi", "generate", "--format=json"); err == nil {
			c.found, err = parse(out, "nvidia-ctk")
		}
		if ctx.Err() != nil {
			return nil, nil // who asked is gone: nothing is known
		}
	}
	if err != nil {
		c.problems = append(c.problems, Problem{"nvidia-ctk", err.Error()})
		c.until = time.Now().Add(ctkAgain)
	}
	if len(c.found) == 0 {
		if c.found, err = d.byDriver(ctx, cards, version); err != nil {
			c.problems = append(c.problems, Problem{"the NVIDIA driver", err.Error()})
			c.until = time.Now().Add(ctkAgain)
		}
	}
	d.nvidia = c
	return c.found, c.problems
}

// nvidiaVersion is the version of the kernel's driver, "580.159.04", which the
// driver's libraries have too.
func (d *Driver) nvidiaVersion() string {
	data, err := os.ReadFile(d.root + "/sys/module/nvidia/version")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

// byDriver describes the cards by what there is of the driver: its nodes, and its
// libraries by the cache of the host's linker. A card that is divided (MIG) is
// one device then.
func (d *Driver) byDriver(ctx context.Context, cards []card, version string) ([]found, error) {
	common := edits{env: []string{"NVIDIA_VISIBLE_DEVICES=void"}} // as nvidia-ctk: a runtime's own hook is to do nothing
	for _, path := range []string{"/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools"} {
		if _, err := number(path); err == nil {
			common.nodes = append(common.nodes, node{path: path, host: path, access: "rw"})
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	libs, err := driverLibraries(ctx, version)
	if err != nil {
		return nil, err
	}
	common.mounts, common.env = append(common.mounts, libs.mounts...), append(common.env, libs.env...)
	var list []found
	var bad refusals
	for i, c := range cards {
		path := fmt.Sprintf("/dev/nvidia%d", c.minor)
		f := found{
			id: fmt.Sprintf("nvidia.com/gpu=%d", i), bare: strconv.Itoa(i), vendor: "nvidia.com", source: "the NVIDIA driver",
			own: edits{nodes: []node{{path: path, host: path, access: "rw"}}}, common: common, uuid: c.uuid, model: c.model,
		}
		if err := f.identify(); err != nil {
			bad.add(f.id, err)
			continue
		}
		list = append(list, f)
	}
	return list, bad.err()
}

// readOnly is a bind mount of a file of the host's.
func readOnly(source, target string) specs.Mount {
	return specs.Mount{Destination: target, Type: "bind", Source: source, Options: []string{"bind", "ro", "nosuid", "nodev", "rprivate"}}
}
