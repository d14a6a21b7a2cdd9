package tui

import (
	"slices"
	"strconv"
	"strings"

	"cove/config"
	"cove/tui/action"
	"cove/tui/form"
)

// Ids of the fields of the create form. Those that set a key of the profile
// are named as the flag is.
const (
	fieldProfile = "profile"
	fieldName    = "name"
	fieldImage   = "image"
	fieldCPU     = "cpu"
	fieldMemory  = "memory"
	fieldPids    = "pids"
	fieldDisk    = "disk"
	fieldGPU     = "gpu"
	fieldNetwork = "network"
	fieldMounts  = "mount"
	fieldVolumes = "volume"
	fieldEnv     = "env"
	fieldLabels  = "label"
	fieldStop    = "auto-stop"
	fieldDelete  = "auto-delete"
)

// Words of the choices.
const (
	netBlocked = "blocked"
	netOpen    = "open"
	netLAN     = "open + LAN"
	netLists   = "as the profile lists"

	deleteNever = "never"
	deleteStop  = "when it stops"
)

// createFields are the answers of the form, each in its field.
type createFields struct {
	profile                        *form.Picker
	name, image, cpu, memory, pids *form.Text
	disk, gpu, stop                *form.Text
	network, remove                *form.Choice
	mounts, volumes, env, labels   *form.Lines
	base                           config.Spec // the profile's own
	home                           string
	gpus                           bool // this machine has some
	keeps                          bool // the daemon keeps volumes
}

// Most runes that can be typed: more than the values may have, so that one
// that is too long can be seen and made shorter.
const (
	nameMost  = 100
	shortMost = 40
	longMost  = 4096
)

func newCreateFields(home string, gpus, keeps bool) *createFields {
	f := &createFields{
		home: home, gpus: gpus, keeps: keeps,
		profile: form.NewPicker(), name: form.NewText(nameMost, false), image: form.NewText(longMost, true),
		cpu: form.NewText(shortMost, false), memory: form.NewText(shortMost, false), pids: form.NewText(shortMost, false),
		disk: form.NewText(shortMost, false), gpu: form.NewText(nameMost, false), stop: form.NewText(shortMost, false),
		network: form.NewChoice(), remove: form.NewChoice(),
		mounts: form.NewLines(longMost), volumes: form.NewLines(longMost), env: form.NewLines(longMost), labels: form.NewLines(longMost),
	}
	f.name.Instead = "cove makes one up"
	f.volumes.Instead = "NAME:DST[:ro]"
	f.mounts.Instead, f.env.Instead, f.labels.Instead = "SRC:DST[:ro|rw|cow]", "KEY=VALUE, or KEY", "KEY=VALUE"
	f.network.Offer(0, netOpen, netLAN, netBlocked)
	f.remove.Offer(0, deleteNever, deleteStop)
	return f
}

func (f *createFields) items() []form.Item {
	items := []form.Item{
		{ID: fieldProfile, Label: "Profile", Field: f.profile},
		{ID: fieldName, Label: "Name", Field: f.name},
		{ID: fieldImage, Label: "Image", Field: f.image},
		{ID: fieldCPU, Label: "CPU", Field: f.cpu},
		{ID: fieldMemory, Label: "Memory", Field: f.memory},
		{ID: fieldPids, Label: "Processes", Field: f.pids},
		{ID: fieldDisk, Label: "Disk", Field: f.disk},
	}
	if f.gpus {
		items = append(items, form.Item{ID: fieldGPU, Label: "GPU", Field: f.gpu})
	}
	items = append(items, form.Item{ID: fieldNetwork, Label: "Network", Field: f.network}, form.Item{ID: fieldMounts, Label: "Mounts", Field: f.mounts})
	if f.keeps {
		items = append(items, form.Item{ID: fieldVolumes, Label: "Volumes", Field: f.volumes})
	}
	return append(items, []form.Item{
		{ID: fieldEnv, Label: "Variables", Field: f.env},
		{ID: fieldLabels, Label: "Labels", Field: f.labels},
		{ID: fieldStop, Label: "Stop", Field: f.stop},
		{ID: fieldDelete, Label: "Delete", Field: f.remove},
	}...)
}

// over puts the profile's own values below what is typed.
func (f *createFields) over(base config.Spec) {
	f.base = base
	f.image.Instead = base.Image
	f.cpu.Instead, f.memory.Instead, f.pids.Instead = limit(strconv.FormatFloat(base.Resources.CPU, 'f', -1, 64)), limit(base.Resources.Memory.String()), limit(strconv.FormatInt(base.Resources.Pids, 10))
	f.disk.Instead, f.gpu.Instead, f.stop.Instead = base.Resources.Disk.String(), gpuWord(base.Resources.GPU), base.Automation.AutoStop.String()
	if base.Resources.Disk == 0 {
		f.disk.Instead = "no quota"
	}
	if base.Automation.AutoStop == 0 {
		f.stop.Instead = deleteNever
	}
	words := []string{netOpen, netLAN, netBlocked}
	at := networkWord(base.Network)
	if at == netLists {
		words = []string{netLists, netBlocked}
	}
	f.network.Offer(slices.Index(words, at), words...)
	words = []string{deleteNever, deleteStop}
	at = deleteWord(base.Automation)
	if !slices.Contains(words, at) {
		words = append(words, at)
	}
	f.remove.Offer(slices.Index(words, at), words...)
	mounts := make([]string, 0, len(base.Mounts))
	for _, m := range base.Mounts {
		mounts = append(mounts, m.Source+":"+m.Target+":"+m.Mode)
	}
	f.mounts.Begin(mounts)
	volumes := make([]string, 0, len(base.Volumes))
	for _, v := range base.Volumes {
		s := v.Name + ":" + v.Target
		if v.ReadOnly {
			s += ":ro"
		}
		volumes = append(volumes, s)
	}
	f.volumes.Begin(volumes)
}

// gpuWord is what a sandbox asks for of the machine's GPUs.
func gpuWord(r config.GPURequest) string {
	switch {
	case len(r.IDs) > 0:
		return strings.Join(r.IDs, ",")
	case r.Count > 0:
		return strconv.Itoa(r.Count)
	}
	return "none"
}

// networkWord is what the form calls a policy.
func networkWord(n config.Network) string {
	switch {
	case n.BlockAll:
		return netBlocked
	case len(n.Allow)+len(n.Deny)+len(n.Domains)+len(n.HostPorts) > 0, n.Ask:
		return netLists
	case n.LAN:
		return netLAN
	}
	return netOpen
}

func deleteWord(a config.Automation) string {
	switch d := a.AutoDelete; {
	case d == config.Never:
		return deleteNever
	case d == 0:
		return deleteStop
	}
	return a.AutoDelete.String() + " after it stops"
}

// flags is what the answers are on the command line: nothing for what stays as
// the profile has it.
func (f *createFields) flags() []Flag {
	var flags []Flag
	set := func(name string, values ...string) {
		if len(values) > 0 {
			flags = append(flags, Flag{name, values})
		}
	}
	for _, t := range []struct {
		name  string
		field *form.Text
	}{{fieldImage, f.image}, {fieldCPU, f.cpu}, {fieldMemory, f.memory}, {fieldPids, f.pids}, {fieldDisk, f.disk}, {fieldGPU, f.gpu}} {
		if v := strings.TrimSpace(t.field.Value()); v != "" {
			set(t.name, v)
		}
	}
	if f.network.Changed() {
		want := f.network.Value()
		if f.base.Network.BlockAll != (want == netBlocked) {
			set("block-all", boolWord(want == netBlocked))
		}
		if f.base.Network.LAN != (want == netLAN) {
			set("lan", boolWord(want == netLAN))
		}
	}
	if f.mounts.Changed() {
		values := f.mounts.Values()
		for i := range values {
			values[i] = f.expand(values[i])
		}
		set(fieldMounts, values...)
	}
	if f.volumes.Changed() {
		set(fieldVolumes, f.volumes.Values()...)
	}
	set(fieldEnv, f.env.Values()...)
	set(fieldLabels, f.labels.Values()...)
	if v := strings.TrimSpace(f.stop.Value()); v != "" {
		set(fieldStop, v)
	}
	if f.remove.Changed() {
		if f.remove.Value() == deleteStop {
			set("rm", "true")
		} else {
			set(fieldDelete, deleteNever)
		}
	}
	return flags
}

// expand writes the person's home for a ~ at the beginning, as a shell does.
func (f *createFields) expand(path string) string {
	if rest, ok := strings.CutPrefix(path, "~/"); ok && f.home != "" {
		return f.home + "/" + rest
	}
	return path
}

// typed tells whether there is anything to lose.
func (f *createFields) typed() bool { return f.name.Value() != "" || len(f.flags()) > 0 }

func boolWord(on bool) string {
	if on {
		return "true"
	}
	return "false"
}

// CreateCommand is a create on the command line, quoted for a POSIX shell.
func CreateCommand(profile, name string, flags []Flag) string {
	words := []string{"cove", "create"}
	if profile != "" {
		words = append(words, "-p", profile)
	}
	if name != "" {
		words = append(words, "-n", name)
	}
	all := config.Flags()
	for _, f := range flags {
		isSwitch := slices.ContainsFunc(all, func(def config.Flag) bool { return def.Name == f.Name && def.Switch() })
		for _, v := range f.Values {
			switch {
			case !isSwitch:
				words = append(words, "--"+f.Name, v)
			case v == "true":
				words = append(words, "--"+f.Name)
			default:
				words = append(words, "--"+f.Name+"="+v)
			}
		}
	}
	return action.Quote(words...)
}

// fieldOf is the field of the form that a problem is about.
func (f *createFields) fieldOf(p config.Problem) string {
	id := fieldOf(p)
	if id == fieldGPU && !f.gpus || id == fieldVolumes && !f.keeps {
		return fieldProfile
	}
	return id
}

// fieldOf is the field that a problem of a spec or a flag is about; the
// profile is where everything else comes from.
func fieldOf(p config.Problem) string {
	key, _, _ := strings.Cut(p.Key, "[")
	switch {
	case key == "image":
		return fieldImage
	case key == "resources.cpu":
		return fieldCPU
	case key == "resources.memory":
		return fieldMemory
	case key == "resources.pids":
		return fieldPids
	case key == "resources.disk" || key == "resources.disk_reserve":
		return fieldDisk
	case key == "resources.gpu" || key == "resources.gpu_shared":
		return fieldGPU
	case key == "automation.auto_stop":
		return fieldStop
	case key == "network" || strings.HasPrefix(key, "network."):
		return fieldNetwork
	case key == "mounts":
		return fieldMounts
	case key == "volumes":
		return fieldVolumes
	case key == "env" || strings.HasPrefix(key, "env."):
		return fieldEnv
	case key == "labels" || strings.HasPrefix(key, "labels."):
		return fieldLabels
	case key == "automation.auto_delete":
		return fieldDelete
	}
	switch flag := strings.TrimPrefix(p.File, "--"); flag {
	case fieldImage, fieldCPU, fieldMemory, fieldPids, fieldDisk, fieldGPU, fieldStop, fieldMounts, fieldVolumes, fieldEnv, fieldLabels, fieldDelete:
		return flag
	case "block-all", "lan":
		return fieldNetwork
	case "rm":
		return fieldDelete
	}
	return fieldProfile
}

// problemNote is a problem in words beside its field, which names it already.
func problemNote(p config.Problem) form.Note {
	words := p.Message
	if p.Hint != "" && !strings.HasPrefix(p.Hint, "the form is --") {
		words += "; " + p.Hint
	}
	return form.Note{Kind: form.Bad, Text: words}
}

// limit is a limit in words.
func limit(s string) string {
	if s == "0" {
		return "no limit"
	}
	return s
}
