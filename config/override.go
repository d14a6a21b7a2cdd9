package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Flag is a flag of the command line that sets a key of a profile. The command
// line registers its flags from [Flags] and hands them to [Profile.Override],
// so that a flag is defined in one place.
type Flag struct {
	// Name is without the dashes.
	Name string
	// Form is the form of its value, "SRC:DST[:ro|rw|rw-as-root|cow]"; empty for a
	// switch, which takes true or false and may stand alone.
	Form string
	// Help is one line.
	Help string
	// Repeat says that the flag may be given more than once.
	Repeat bool
	// Key is the key of the profile that it sets.
	Key string

	set func(p *Profile, values []string) error
}

// Switch tells whether the flag takes only true or false.
func (f Flag) Switch() bool { return f.Form == "" }

// Flags lists the flags that set keys of a profile, in the order in which help
// shows them.
func Flags() []Flag {
	return []Flag{
		{Name: "image", Form: "IMAGE", Help: "the image: host, a reference such as debian:12, oci:DIR, docker-archive:FILE, snapshot:NAME", Key: "image", set: setImage},
		single("cpu", "N", "cores, fractional; 0 is no limit", "resources.cpu", func(s *Spec) *float64 { return &s.Resources.CPU }, ParseCPU),
		single("memory", "SIZE", "memory, such as 512MiB; 0 is no limit", "resources.memory", func(s *Spec) *Size { return &s.Resources.Memory }, ParseSize),
		single("swap", "SIZE", "swap on top of the memory; 0 is none", "resources.swap", func(s *Spec) *Size { return &s.Resources.Swap }, ParseSize),
		single("pids", "N", "processes and threads; 0 is no limit", "resources.pids", func(s *Spec) *int64 { return &s.Resources.Pids }, ParsePids),
		single("disk", "SIZE", "disk quota; 0 is none", "resources.disk", func(s *Spec) *Size { return &s.Resources.Disk }, ParseSize),
		single("gpu", "N|ID,..", "how many GPUs, or which", "resources.gpu", func(s *Spec) *GPURequest { return &s.Resources.GPU }, ParseGPU),
		single("gpu-shared", "", "share the GPUs with others that share them", "resources.gpu_shared", func(s *Spec) *bool { return &s.Resources.GPUShared }, parseSwitch),
		{
			Name: "env", Form: "K=V", Help: "environment variable; K alone is taken from the caller at each start",
			Repeat: true, Key: "env", set: setEnv,
		},
		{Name: "label", Form: "K=V", Help: "a label to find it by (cove ls --label K=V)", Repeat: true, Key: "labels", set: setLabels},
		{
			Name: "mount", Form: "SRC:DST[:ro|rw|rw-as-root|cow]", Help: "directory of this machine (default ro)",
			Repeat: true, Key: "mounts", set: setMounts,
		},
		many("volume", "NAME:DST[:ro]", "volume", "volumes", func(s *Spec) *[]Volume { return &s.Volumes }, ParseVolume),
		single("block-all", "", "no network at all", "network.block_all", func(s *Spec) *bool { return &s.Network.BlockAll }, parseSwitch),
		single("lan", "", "the private networks that this machine is in, too", "network.lan", func(s *Spec) *bool { return &s.Network.LAN }, parseSwitch),
		many("allow", "CIDR[:PORT[/udp]]", "allow this destination; the rest is off", "network.allow", func(s *Spec) *[]string { return &s.Network.Allow }, plainText),
		many("domain", "NAME", "allow this domain; the rest is off", "network.domains", func(s *Spec) *[]string { return &s.Network.Domains }, plainText),
		single("auto-stop", "DURATION", "stop when idle that long, such as 30m; 0 is never", "automation.auto_stop", func(s *Spec) *Duration { return &s.Automation.AutoStop }, ParseDuration),
		single("auto-pause", "DURATION", "freeze when idle that long; 0 is never", "automation.auto_pause", func(s *Spec) *Duration { return &s.Automation.AutoPause }, ParseDuration),
		single("auto-archive", "DURATION", "archive when stopped that long", "automation.auto_archive", func(s *Spec) *Duration { return &s.Automation.AutoArchive }, ParseDuration),
		single("auto-delete", "DURATION", "delete when stopped that long, such as 7d; 0 is at once, or never", "automation.auto_delete", func(s *Spec) *Duration { return &s.Automation.AutoDelete }, ParseDuration),
		single("ttl", "DURATION", "stop for good so long after it was made, whatever it does; or never", "automation.ttl", func(s *Spec) *Duration { return &s.Automation.TTL }, ParseDuration),
		{Name: "rm", Help: "delete it as soon as it stops", Key: "automation.auto_delete", set: setRemove},
	}
}

// Unenforced says what of the flag this build does not put into effect, in a few
// words for its help; "" where all of it works. [Unenforced] decides, on a value
// such as people give.
func (f Flag) Unenforced() string {
	p := &Profile{Spec: Defaults(), origins: origins{}}
	p.Spec.Network.BlockAll = f.Name != "block-all"
	before := Unenforced(p.Spec)
	if f.set(p, []string{f.sample()}) != nil {
		return "" // a test says that there is a sample of every flag
	}
	for _, problem := range Unenforced(p.Spec) {
		if problem.Key != f.Key || slices.ContainsFunc(before, func(b Problem) bool { return b.Key == problem.Key }) {
			continue
		}
		if strings.HasPrefix(problem.Hint, "only ") {
			return "in this build " + problem.Hint
		}
		return "not in this build"
	}
	return ""
}

// sample is a value of the flag that asks for what it is there for.
func (f Flag) sample() string {
	switch f.Name {
	case "image":
		return "docker.io/library/debian"
	case "cpu", "gpu":
		return "1"
	case "pids":
		return "4096"
	case "memory", "swap", "disk":
		return "1GiB"
	case "env", "label":
		return "K=V"
	case "mount":
		return ".:/mnt/sample"
	case "volume":
		return "data:/mnt/sample"
	case "allow":
		return "192.0.2.0/24"
	case "domain":
		return "example.org"
	case "auto-stop", "auto-pause", "auto-archive", "auto-delete", "ttl":
		return "7d"
	}
	if f.Switch() {
		return "true"
	}
	return "100"
}

// NewOverride returns a profile whose Spec is s, for [Profile.Override] alone.
func NewOverride(s Spec) *Profile { return &Profile{Spec: s, origins: origins{}} }

// Override sets what a flag of the command line says over the profile: a value
// or a list replaces that of the profile, environment and labels merge. All
// values that the flag was given come in one call. The error is a
// *[ProfileError] that names the flag and its form. What is wrong with the
// value beyond its form, [Profile.Check] tells.
func (p *Profile) Override(flag string, values ...string) error {
	all := Flags()
	i := slices.IndexFunc(all, func(f Flag) bool { return f.Name == flag })
	if i < 0 {
		return fmt.Errorf("there is no flag --%s that sets a key of a profile", clean(flag))
	}
	f := all[i]
	name := "--" + f.Name
	if len(values) == 0 {
		return nil
	}
	if len(values) > 1 && !f.Repeat {
		return &ProfileError{[]Problem{{File: name, Message: "it is given twice", Hint: "give it once"}}}
	}
	if err := f.set(p, values); err != nil {
		form := name
		if f.Form != "" {
			form += " " + f.Form
		}
		return &ProfileError{[]Problem{{File: name, Message: err.Error(), Hint: "the form is " + form}}}
	}
	return nil
}

// single is a flag with one value that replaces the key's.
func single[T any](name, form, help, key string, field func(*Spec) *T, parse func(string) (T, error)) Flag {
	return Flag{Name: name, Form: form, Help: help, Key: key, set: func(p *Profile, values []string) error {
		v, err := parse(values[0])
		if err != nil {
			return err
		}
		*field(&p.Spec) = v
		p.origins.setFlag(key, "--"+name)
		return nil
	}}
}

// setImage sets the image, and forgets what the profile says of the system that it
// is for.
func setImage(p *Profile, values []string) error {
	v, err := plainText(values[0])
	if err != nil {
		return err
	}
	if v != HostImage && v != p.Spec.Image {
		p.Spec.otherImage(func(key string) bool { return strings.HasPrefix(p.origins[key].file, "--") })
	}
	p.Spec.Image = v
	p.origins.setFlag("image", "--image")
	return nil
}

// many is a flag whose values together replace the key's list.
func many[T any](name, form, help, key string, field func(*Spec) *[]T, parse func(string) (T, error)) Flag {
	return Flag{Name: name, Form: form, Help: help, Repeat: true, Key: key, set: func(p *Profile, values []string) error {
		list := make([]T, len(values))
		for i, text := range values {
			v, err := parse(text)
			if err != nil {
				return err
			}
			list[i] = v
		}
		*field(&p.Spec) = list
		p.origins.setFlag(key, "--"+name)
		return nil
	}}
}

func setEnv(p *Profile, values []string) error {
	for _, text := range values {
		name, v, err := ParseEnv(text)
		if err != nil {
			return err
		}
		if p.Spec.Env == nil {
			p.Spec.Env = map[string]EnvVar{}
		}
		p.Spec.Env[name] = v
		p.origins.setFlag(joinKey("env", name), "--env")
	}
	return nil
}

func setLabels(p *Profile, values []string) error {
	for _, text := range values {
		name, v, err := ParseLabel(text)
		if err != nil {
			return err
		}
		if p.Spec.Labels == nil {
			p.Spec.Labels = map[string]string{}
		}
		p.Spec.Labels[name] = v
		p.origins.setFlag(joinKey("labels", name), "--label")
	}
	return nil
}

func setMounts(p *Profile, values []string) error {
	list := make([]Mount, len(values))
	for i, text := range values {
		m, err := ParseMount(text)
		if err != nil {
			return err
		}
		// Completion puts a slash behind a directory.
		m.Source = filepath.Clean(p.absolute(m.Source))
		list[i] = m
	}
	p.Spec.Mounts = list
	p.origins.setFlag("mounts", "--mount")
	return nil
}

func setRemove(p *Profile, values []string) error {
	on, err := parseSwitch(values[0])
	if err != nil || !on {
		return err
	}
	p.Spec.Automation.AutoDelete = 0
	p.origins.setFlag("automation.auto_delete", "--rm")
	return nil
}

func plainText(text string) (string, error) { return text, nil }

func parseSwitch(text string) (bool, error) {
	switch text {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, fmt.Errorf("%s is neither true nor false", quote(text))
}

// ParseCPU reads a number of cores: "2", "1.5".
func ParseCPU(text string) (float64, error) {
	// ParseFloat alone would take "0x1p4", "1_0", "inf" and "nan".
	if strings.Trim(text, "0123456789.") == "" {
		if n, err := strconv.ParseFloat(text, 64); err == nil {
			return n, nil
		}
	}
	return 0, fmt.Errorf("%s is no number of cores: want a number such as 2 or 1.5", quote(text))
}

// ParsePids reads a number of processes and threads: "256".
func ParsePids(text string) (int64, error) {
	if text != "" && strings.Trim(text, "0123456789") == "" {
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return n, nil
		}
	}
	return 0, fmt.Errorf("%s is no number of processes: want a whole number such as 4096", quote(text))
}

// ParseGPU reads a number of GPUs or a list of their names with commas. A
// single number is how many; one GPU by its index is "0,".
func ParseGPU(text string) (GPURequest, error) {
	if text != "" && strings.Trim(text, "0123456789") == "" {
		n, err := strconv.Atoi(text)
		if err != nil || n > maxGPUs {
			return GPURequest{}, fmt.Errorf("%s is too many GPUs: at most %d", quote(text), maxGPUs)
		}
		return GPURequest{Count: n}, nil
	}
	ids := strings.Split(strings.TrimSuffix(text, ","), ",")
	if slices.Contains(ids, "") {
		return GPURequest{}, fmt.Errorf("%s has an empty name in it", quote(text))
	}
	return GPURequest{IDs: ids}, nil
}

// ParseEnv reads "K=V", or "K" alone for a variable that the caller brings
// along at each start.
func ParseEnv(text string) (string, EnvVar, error) {
	name, v, given := strings.Cut(text, "=")
	if err := validEnvName(name); err != nil {
		return "", EnvVar{}, err
	}
	if !given {
		return name, EnvVar{From: FromEnv}, nil
	}
	return name, EnvVar{Value: v}, nil
}

// ParseLabel reads "K=V".
func ParseLabel(text string) (key, label string, err error) {
	key, label, given := strings.Cut(text, "=")
	if !given {
		return "", "", fmt.Errorf("%s has no =", quote(text))
	}
	if err := ValidLabelKey(key); err != nil {
		return "", "", err
	}
	return key, label, nil
}

// ParseMount reads "SRC:DST[:MODE]"; the mode is ro unless it is given. SRC may
// be relative and may hold colons.
func ParseMount(text string) (Mount, error) {
	m := Mount{Mode: MountRO}
	rest := text
	if i := strings.LastIndexByte(rest, ':'); i >= 0 && rest[i+1:] != "" && !strings.HasPrefix(rest[i+1:], "/") {
		m.Mode, rest = rest[i+1:], rest[:i]
		if !slices.Contains([]string{MountRO, MountRW, MountRWAsRoot, MountCOW}, m.Mode) {
			return Mount{}, fmt.Errorf("there is no mode %s in %s", quote(m.Mode), quote(text))
		}
	}
	i := strings.LastIndexByte(rest, ':')
	if i <= 0 || i == len(rest)-1 {
		return Mount{}, fmt.Errorf("%s does not name a source and a target", quote(text))
	}
	m.Source, m.Target = rest[:i], rest[i+1:]
	return m, nil
}

// ParseVolume reads "NAME:DST[:ro]".
func ParseVolume(text string) (Volume, error) {
	parts := strings.Split(text, ":")
	if len(parts) < 2 || len(parts) > 3 || parts[0] == "" || parts[1] == "" {
		return Volume{}, fmt.Errorf("%s does not name a volume and a target", quote(text))
	}
	if err := ValidName(parts[0]); err != nil {
		return Volume{}, err
	}
	v := Volume{Name: parts[0], Target: parts[1]}
	if len(parts) == 3 {
		switch parts[2] {
		case MountRO:
			v.ReadOnly = true
		case MountRW:
		default:
			return Volume{}, errors.New("the mode is ro or nothing, not " + quote(parts[2]))
		}
	}
	return v, nil
}
