package gpu

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// amdVendor is AMD's PCI vendor id.
const amdVendor = "0x1002"

// drmPath is a file that the kernel has of a render node's card.
func (d *Driver) drmPath(render, file string) string { return drmFile(d.root, render, file) }

func drmFile(root, render, file string) string {
	return filepath.Join(root+"/sys/class/drm", render, "device", file)
}

// readLine is a file's content without the space around it, or "".
func readLine(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

// findAMD makes a device of each render node of AMD's. They compute by way of
// /dev/kfd, which is one for all; without it they are none.
func (d *Driver) findAMD() ([]found, []Problem) {
	const kfd = "/dev/kfd"
	if _, err := number(d.root + kfd); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return nil, []Problem{{kfd, err.Error()}}
	}
	renders, err := filepath.Glob(d.root + "/sys/class/drm/renderD*")
	if err != nil {
		return nil, []Problem{{"amdgpu", err.Error()}}
	}
	slices.SortFunc(renders, natural)
	var list []found
	var problems []Problem
	for _, dir := range renders {
		render := filepath.Base(dir)
		if readLine(d.drmPath(render, "vendor")) != amdVendor {
			continue
		}
		path := "/dev/dri/" + render
		f := found{
			id: fmt.Sprintf("amd.com/gpu=%d", len(list)), bare: strconv.Itoa(len(list)), vendor: "amd.com", source: "amdgpu",
			own:    edits{nodes: []node{{path: path, host: d.root + path, access: "rw"}}},
			common: edits{nodes: []node{{path: kfd, host: d.root + kfd, access: "rw"}}},
			model:  d.amdModel(render), drm: render,
		}
		if id := readLine(d.drmPath(render, "unique_id")); id != "" {
			f.uuid = "GPU-" + id // as rocm-smi and ROCR_VISIBLE_DEVICES have it
		}
		if err := f.identify(); err != nil {
			problems = append(problems, Problem{path, err.Error()})
			continue
		}
		list = append(list, f)
	}
	return list, problems
}

// amdModel is what the kernel calls a card: few have a name there.
func (d *Driver) amdModel(render string) string {
	if readLine(d.drmPath(render, "vendor")) != amdVendor {
		return ""
	}
	if name := readLine(d.drmPath(render, "product_name")); name != "" {
		return name
	}
	return "AMD GPU " + strings.TrimPrefix(readLine(d.drmPath(render, "device")), "0x")
}
