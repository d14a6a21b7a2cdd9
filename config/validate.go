package config

import (
	"fmt"
	"maps"
	"math"
	"path"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Bounds of a Spec. They are wide for people and narrow enough that a hostile
// Spec can neither exhaust the daemon nor overflow what the kernel takes. All
// strings of a Spec together are at most maxTotal bytes, so that it fits in
// one frame of the guest's protocol with room for escapes.
const (
	maxTotal   = 128 << 10
	maxShown   = 256 // descriptions, labels: what a row of a table shows
	maxPath    = 4095
	maxCommand = 32 << 10
	maxList    = 256
	maxMap     = 512
	maxGPUs    = 1024

	minCPU    = 0.01 // the shortest quota of CFS, 1 ms of each 100 ms
	maxCPU    = 1024
	minMemory = 6 * MiB // below it runc cannot start anything
	// Below it ext4 leaves next to nothing; above it file systems of hosts have
	// no files so large.
	minDisk = 16 * MiB

	minSpeed = 4 * KiB // a page: less is a number without its unit
	maxDisk  = 8 << 40
	maxSize  = 1 << 60 // memory and swap are added up in an int64
	minPids  = 32      // PID 1 with its threads, a shell and a command
	maxPids  = 1 << 22 // the kernel's PID_MAX_LIMIT
	maxID    = 65535   // a sandbox has 65536 ids

	// MaxMounts is how many mounts a Spec may have: each is a descriptor that
	// travels with the request.
	MaxMounts = 64

	maxStopTimeout = Duration(time.Hour)
	// maxAutomation can be added to any time that there is.
	maxAutomation = Duration(36500 * day)
)

// Languages are the values that [Spec.Language] may have.
func Languages() []string {
	return []string{"bash", "go", "javascript", "python", "ruby", "typescript"}
}

// Validate lists all that is wrong with the Spec itself, whatever this build
// can do with it; nil when nothing is. The CLI calls it so that a mistake is
// told with its place, the daemon again for each Spec that arrives: nothing a
// Spec holds makes it panic, and what passes is bounded in size, has absolute
// clean target paths, no NUL in any string and only valid UTF-8.
func (s Spec) Validate() []Problem {
	v := &validator{}
	v.budget(s)
	v.shown("profile", s.Profile)
	v.shown("description", s.Description)
	v.image(s.Image)
	v.language(s.Language)
	v.shell(s.Shell)
	v.command(s.Command)
	v.shown("install", s.Install)
	v.user(s.User)
	if s.Workdir != "" {
		v.absolute("workdir", s.Workdir)
	}
	v.commands("setup", s.Setup)
	v.runtime(s.Runtime)
	v.resources(s.Resources)
	v.network(s.Network)
	v.ports(s.Ports)
	v.env(s.Env)
	v.labels(s.Labels)
	v.shown("git.name", s.Git.Name)
	v.shown("git.email", s.Git.Email)
	v.targets(s.Mounts, s.Volumes)
	v.automation(s.Automation)
	return v.problems
}

// ValidateLabels is [Spec.Validate] of what a change of the labels can break:
// the labels, and the size of the whole.
func (s Spec) ValidateLabels() []Problem {
	v := &validator{}
	v.budget(s)
	v.labels(s.Labels)
	return v.problems
}

type validator struct{ problems []Problem }

func (v *validator) bad(key, hint, format string, args ...any) {
	v.problems = append(v.problems, Problem{Key: key, Message: fmt.Sprintf(format, args...), Hint: hint})
}

// budget holds the whole to maxTotal.
func (v *validator) budget(s Spec) {
	total := len(s.Profile) + len(s.Description) + len(s.Image) + len(s.Language) + len(s.User) + len(s.Workdir) + len(s.Runtime) +
		len(s.Install) + len(s.Git.Name) + len(s.Git.Email)
	for _, list := range [][]string{
		s.Shell, s.Command, s.Setup, s.Resources.GPU.IDs, s.Network.Allow, s.Network.Deny, s.Network.Domains,
		s.Automation.PreStop, s.Automation.Activity,
	} {
		for _, e := range list {
			total += len(e)
		}
	}
	for k, e := range s.Env {
		total += len(k) + len(e.Value) + len(e.From)
	}
	for k, e := range s.Labels {
		total += len(k) + len(e)
	}
	for _, m := range s.Mounts {
		total += len(m.Source) + len(m.Target) + len(m.Mode)
	}
	for _, e := range s.Volumes {
		total += len(e.Name) + len(e.Target) + len(e.Subpath)
	}
	if total > maxTotal {
		v.bad("", "", "the description of the sandbox is %d bytes of text: at most %d", total, maxTotal)
	}
}

// str checks what holds for every string: a length, UTF-8, no NUL.
func (v *validator) str(key, s string, most int) bool {
	switch {
	case len(s) > most:
		v.bad(key, "", "it is %d bytes long: at most %d", len(s), most)
	case strings.IndexByte(s, 0) >= 0:
		v.bad(key, "", "it contains a NUL byte")
	case !utf8.ValidString(s):
		v.bad(key, "", "it is not valid UTF-8")
	default:
		return true
	}
	return false
}

// shown checks a string that tables and titles show.
func (v *validator) shown(key, s string) {
	if v.str(key, s, maxShown) && strings.ContainsFunc(s, unsafeRune) {
		v.bad(key, "", "it contains a line break or another control character")
	}
}

// oneOf checks a value that is one of a few.
func (v *validator) oneOf(key, kind, got string, valid []string) {
	if slices.Contains(valid, got) {
		return
	}
	hint := "one of: " + strings.Join(valid, ", ")
	if near := Nearest(got, valid); near != "" {
		hint = fmt.Sprintf("did you mean %s?", quote(near))
	}
	v.bad(key, hint, "there is no %s %s", kind, quote(got))
}

// word checks a string of letters, digits and the given other bytes.
func (v *validator) word(key, s, others string, most int) bool {
	if !v.str(key, s, most) {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !letter(c) && !digit(c) && strings.IndexByte(others, c) < 0 {
			v.bad(key, "", "%s may only have letters, digits and %s", quote(s), strings.Join(strings.Split(others, ""), " "))
			return false
		}
	}
	return true
}

func (v *validator) list(key string, n, most int) bool {
	if n > most {
		v.bad(key, "", "it has %d entries: at most %d", n, most)
	}
	return n <= most
}

// absolute checks a path inside the sandbox.
func (v *validator) absolute(key, p string) bool {
	if !v.str(key, p, maxPath) {
		return false
	}
	switch {
	case !path.IsAbs(p):
		v.bad(key, "", "%s is not an absolute path", quote(p))
	case path.Clean(p) != p:
		v.bad(key, fmt.Sprintf("write %s", quote(path.Clean(p))), "%s is not a clean path", quote(p))
	default:
		return true
	}
	return false
}

func (v *validator) image(image string) {
	if image == "" {
		v.bad("image", `"host" is this machine's own system`, "it is empty")
		return
	}
	v.word("image", image, "._-/:@+", 512)
}

func (v *validator) language(language string) {
	if language != "" {
		v.oneOf("language", "language", language, Languages())
	}
}

func (v *validator) shell(shell []string) {
	if !v.list("shell", len(shell), 64) {
		return
	}
	for i, arg := range shell {
		key := indexKey("shell", i)
		if i == 0 {
			v.absolute(key, arg)
		} else {
			v.str(key, arg, maxPath)
		}
	}
}

// command is a program, by path or by a name to be found on PATH, and its
// arguments.
func (v *validator) command(command []string) {
	if !v.list("command", len(command), 64) {
		return
	}
	for i, arg := range command {
		if v.str(indexKey("command", i), arg, maxPath) && i == 0 && strings.TrimSpace(arg) == "" {
			v.bad("command", "", "it names no program")
		}
	}
}

func (v *validator) commands(key string, commands []string) {
	if !v.list(key, len(commands), 64) {
		return
	}
	for i, c := range commands {
		if v.str(indexKey(key, i), c, maxCommand) && strings.TrimSpace(c) == "" {
			v.bad(indexKey(key, i), "", "the command is empty")
		}
	}
}

// user is a name, or UID or UID:GID.
func (v *validator) user(user string) {
	if user == "" {
		return
	}
	const hint = `a name, or "UID" or "UID:GID"`
	if digit(user[0]) {
		uid, gid, both := strings.Cut(user, ":")
		if !validID(uid) || (both && !validID(gid)) {
			v.bad("user", hint, "%s is no user: ids are 0 to %d", quote(user), maxID)
		}
		return
	}
	if v.word("user", user, "_.-", 32) && !letter(user[0]) && user[0] != '_' {
		v.bad("user", hint, "%s is no user name", quote(user))
	}
}

func validID(s string) bool {
	if s == "" || len(s) > 5 {
		return false
	}
	n := 0
	for i := range len(s) {
		if !digit(s[i]) {
			return false
		}
		n = n*10 + int(s[i]-'0')
	}
	return n <= maxID
}

func (v *validator) runtime(runtime string) {
	v.word("runtime", runtime, "-", 32)
}

func (v *validator) resources(r Resources) {
	if r.CPU != 0 && !(r.CPU >= minCPU && r.CPU <= maxCPU) || math.IsNaN(r.CPU) {
		v.bad("resources.cpu", "", "%v cores cannot be had: want %v to %v, or 0 for no limit", r.CPU, minCPU, maxCPU)
	}
	v.size("resources.memory", r.Memory)
	if r.Memory > 0 && r.Memory < minMemory {
		v.bad("resources.memory", "", "%v is too little to start anything: want %v or more, or 0 for no limit", r.Memory, minMemory)
	}
	v.size("resources.swap", r.Swap)
	if r.Swap > 0 && r.Memory == 0 {
		v.bad("resources.swap", "set resources.memory too", "swap is counted on top of a memory limit, and there is none")
	}
	v.size("resources.disk", r.Disk)
	if r.Disk > 0 && (r.Disk < minDisk || r.Disk > maxDisk) {
		v.bad("resources.disk", "", "%v cannot be the size of a disk: want %v to %v, or 0 for none", r.Disk, minDisk, Size(maxDisk))
	}
	if r.DiskReserve && r.Disk == 0 {
		v.bad("resources.disk_reserve", "set resources.disk too", "there is no quota to set aside")
	}
	if r.Pids != 0 && (r.Pids < minPids || r.Pids > maxPids) {
		v.bad("resources.pids", "", "%d processes cannot be the limit: want %d to %d, or 0 for no limit", r.Pids, minPids, maxPids)
	}
	v.gpu(r)
	v.speed("resources.io_read", r.IORead)
	v.speed("resources.io_write", r.IOWrite)
}

func (v *validator) speed(key string, s Size) {
	v.size(key, s)
	if s > 0 && s < minSpeed {
		v.bad(key, "", "%v a second is too slow to work with: want %v or more, or 0 for no limit", s, minSpeed)
	}
}

func (v *validator) size(key string, s Size) {
	if s < 0 || s > maxSize {
		v.bad(key, "", "%v is out of range: want 0 to %v", s, Size(maxSize))
	}
}

func (v *validator) gpu(r Resources) {
	const key = "resources.gpu"
	if r.GPU.Count < 0 || r.GPU.Count > maxGPUs {
		v.bad(key, "", "%d is no number of GPUs: want 0 to %d", r.GPU.Count, maxGPUs)
	}
	if r.GPU.Count != 0 && len(r.GPU.IDs) > 0 {
		v.bad(key, "", "it is both a number and a list")
	}
	if v.list(key, len(r.GPU.IDs), maxList) {
		for i, id := range r.GPU.IDs {
			if v.word(indexKey(key, i), id, "._-/=:", 128) && id == "" {
				v.bad(indexKey(key, i), "", "the name is empty")
			}
		}
	}
	if r.GPUShared && r.GPU.Count == 0 && len(r.GPU.IDs) == 0 {
		v.bad("resources.gpu_shared", "set resources.gpu too", "there is no GPU to share")
	}
}

func (v *validator) env(env map[string]EnvVar) {
	if !v.list("env", len(env), maxMap) {
		return
	}
	for _, name := range sortedKeys(env) {
		key := joinKey("env", clip(name))
		if err := validEnvName(name); err != nil {
			v.bad(key, "", "%v", err)
			continue
		}
		e := env[name]
		switch {
		case e.From != "" && e.From != FromEnv:
			v.bad(key, `from = "env" is the only one`, "there is no source %s", quote(e.From))
		case e.From != "" && e.Value != "":
			v.bad(key, "", "it has both a value and a source")
		case e.Optional && e.From == "":
			v.bad(key, "", "only what comes from the environment can be optional")
		default:
			v.str(key, e.Value, maxCommand)
		}
	}
}

// validEnvName: what every shell can read (POSIX, XBD 8.1).
func validEnvName(name string) error {
	if name == "" || len(name) > 256 {
		return fmt.Errorf("the name of a variable is 1 to 256 bytes long, not %d", len(name))
	}
	for i := range len(name) {
		if c := name[i]; !letter(c) && c != '_' && (i == 0 || !digit(c)) {
			return fmt.Errorf("%s is no name of a variable: want letters, digits and _, not a digit first", quote(name))
		}
	}
	return nil
}

func (v *validator) labels(labels map[string]string) {
	if !v.list("labels", len(labels), maxMap) {
		return
	}
	for _, name := range sortedKeys(labels) {
		key := joinKey("labels", clip(name))
		if err := ValidLabelKey(name); err != nil {
			v.bad(key, "", "%v", err)
			continue
		}
		v.shown(key, labels[name])
	}
}

// ValidLabelKey says why key cannot be the key of a label, or nil: letters,
// digits and inner "." "_" "-" "/", at most 128 bytes. A hyphen cannot be last,
// since "KEY-" on the command line removes a label.
func ValidLabelKey(key string) error {
	if key == "" || len(key) > 128 {
		return fmt.Errorf("the key of a label is 1 to 128 bytes long, not %d", len(key))
	}
	for i := range len(key) {
		c := key[i]
		inner := i > 0 && i < len(key)-1 && strings.IndexByte("._-/", c) >= 0
		if !letter(c) && !digit(c) && !inner {
			return fmt.Errorf("%s is no key of a label: want letters, digits and inner . _ - /", quote(key))
		}
	}
	return nil
}

func (v *validator) automation(a Automation) {
	const table = "automation."
	if a.StopTimeout < 0 || a.StopTimeout > maxStopTimeout {
		v.bad(table+"stop_timeout", "", "%v is out of range: want 0 to %v", a.StopTimeout, maxStopTimeout)
	}
	if a.PreStopTimeout < 0 || a.PreStopTimeout > maxStopTimeout {
		v.bad(table+"pre_stop_timeout", "", "%v is out of range: want 0 to %v", a.PreStopTimeout, maxStopTimeout)
	}
	if v.list(table+"pre_stop", len(a.PreStop), 64) {
		for i, arg := range a.PreStop {
			v.str(indexKey(table+"pre_stop", i), arg, maxCommand)
		}
	}
	for _, d := range []struct {
		key string
		Duration
	}{
		{"auto_stop", a.AutoStop}, {"auto_pause", a.AutoPause}, {"auto_archive", a.AutoArchive},
		{"auto_delete", a.AutoDelete}, {"ttl", a.TTL},
	} {
		if d.Duration < 0 && d.Duration != Never {
			v.bad(table+d.key, "", "%v is negative", d.Duration)
		}
		if d.Duration > maxAutomation {
			v.bad(table+d.key, `write "never" for no end`, "%v is out of range: want %v at most", d.Duration, maxAutomation)
		}
	}
	if a.TTL == 0 {
		v.bad(table+"ttl", `write "never" for no limit`, "0 would end it at once")
	}
	known := Activities()
	if a.Activity != nil && len(a.Activity) == 0 {
		v.bad(table+"activity", "remove it for all of them: "+strings.Join(known, ", "), "an empty list would have nothing count as use")
	}
	if v.list(table+"activity", len(a.Activity), len(known)) {
		for i, kind := range a.Activity {
			v.oneOf(indexKey(table+"activity", i), "activity", kind, known)
		}
	}
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
