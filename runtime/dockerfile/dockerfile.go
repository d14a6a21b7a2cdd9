// Package dockerfile reads Dockerfiles, by the parser of BuildKit, into what a build
// does step by step. It is pure: what a step comes to on disk is package sandbox's.
//
// Supported are FROM (also scratch, host, snapshot:NAME and earlier stages), ARG,
// ENV, LABEL, COPY and ADD of local files, RUN, WORKDIR, USER, SHELL, CMD,
// ENTRYPOINT, EXPOSE, STOPSIGNAL and VOLUME, which is only noted. Everything else is
// refused by its name.
package dockerfile

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"runtime"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"

	"cove/config"
)

// MaxSize is what a Dockerfile may have, in bytes.
const MaxSize = 1 << 20

// Error is what is wrong with a Dockerfile: the caller's to mend.
type Error struct {
	Line    int // 0 where it is about no line
	Message string
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return "Dockerfile: " + e.Message
	}
	return fmt.Sprintf("Dockerfile:%d: %s", e.Line, e.Message)
}

// File is a Dockerfile that was read.
type File struct {
	stages []instructions.Stage
	meta   []instructions.ArgCommand
	lex    *shell.Lex
}

// Stage is a stage that is built.
type Stage struct {
	// Name is what it is called, or its number.
	Name string
	// From is the image below it; empty where that is the stage Base.
	From string
	Base int
	file *File
	cmds []instructions.Command
	meta map[string]string
	args map[string]string
}

// Kind is what a step does.
type Kind int

// The kinds of steps.
const (
	// Note changes only what the image says: what follows has it.
	Note Kind = iota
	Run
	Copy
	// Workdir is a directory that is to be there.
	Workdir
)

// Step is one instruction, with all its variables replaced.
type Step struct {
	Kind Kind
	// Text is the instruction for people, in a line.
	Text string
	// Argv is what Run runs.
	Argv []string
	// Env is what Run has beside the image's: the arguments, "KEY=VALUE", sorted.
	Env []string
	// Dir is what Workdir makes.
	Dir  string
	Copy *CopyStep
}

// CopyStep is what COPY and ADD copy.
type CopyStep struct {
	// From is an image, and Stage the number of a stage; both are unset (empty, -1)
	// for files of the context.
	From  string
	Stage int
	// Sources are patterns below the context or the stage's root, cleaned, with no
	// slash before them.
	Sources []string
	// Inline are files that the Dockerfile itself holds.
	Inline []Inline
	// Dest is absolute; with a slash behind it a directory.
	Dest string
	// Owner is "user[:group]", empty for root.
	Owner string
	// Mode is the permissions of what is copied, -1 for its own.
	Mode int
	// Exclude are patterns of what is not copied.
	Exclude []string
	// Unpack has tars unpacked (ADD).
	Unpack bool
}

// Inline is a file that a Dockerfile holds.
type Inline struct{ Name, Data string }

// Parse reads a Dockerfile. Errors: *[Error].
func Parse(text []byte) (*File, error) {
	if len(text) > MaxSize {
		return nil, &Error{Message: fmt.Sprintf("it has %d bytes, at most %d are read", len(text), MaxSize)}
	}
	r, err := parser.Parse(bytes.NewReader(text))
	if err != nil {
		return nil, wrong(err)
	}
	f := &File{lex: shell.NewLex(r.EscapeToken)}
	if f.stages, f.meta, err = instructions.Parse(r.AST, nil); err != nil {
		return nil, wrong(err)
	}
	if len(f.stages) == 0 {
		return nil, &Error{Message: "it has no FROM"}
	}
	for _, s := range f.stages {
		for _, c := range s.Commands {
			if err := supported(c); err != nil {
				return nil, at(c, err)
			}
		}
	}
	return f, nil
}

// wrong says in a line what the parser finds.
func wrong(err error) error {
	e := &Error{}
	var loc *parser.LocationError
	if errors.As(err, &loc) && len(loc.Locations) > 0 && len(loc.Locations[0]) > 0 {
		e.Line = loc.Locations[0][0].Start.Line
	}
	text, _, _ := strings.Cut(err.Error(), "\n")
	e.Message = text
	return e
}

func at(c instructions.Command, err error) error {
	e := &Error{Message: err.Error()}
	if loc := c.Location(); len(loc) > 0 {
		e.Line = loc[0].Start.Line
	}
	return e
}

// supported refuses what a build here does not do.
func supported(c instructions.Command) error {
	switch c := c.(type) {
	case *instructions.EnvCommand, *instructions.LabelCommand, *instructions.ArgCommand, *instructions.WorkdirCommand, *instructions.UserCommand,
		*instructions.ShellCommand, *instructions.CmdCommand, *instructions.EntrypointCommand, *instructions.ExposeCommand,
		*instructions.StopSignalCommand, *instructions.VolumeCommand, *instructions.MaintainerCommand:
		return nil
	case *instructions.RunCommand:
		if len(c.FlagsUsed) > 0 {
			return fmt.Errorf("RUN --%s is not supported", c.FlagsUsed[0])
		}
		if len(c.Files) > 1 {
			return errors.New("RUN with several here-documents is not supported: write one script")
		}
		return nil
	case *instructions.CopyCommand:
		if c.Parents {
			return errors.New("COPY --parents is not supported")
		}
		return nil
	case *instructions.AddCommand:
		for _, s := range c.SourcePaths {
			if strings.Contains(s, "://") || strings.HasPrefix(s, "git@") {
				return fmt.Errorf("ADD of %s is not supported: fetch it in a RUN", s)
			}
		}
		if c.Checksum != "" || c.KeepGitDir != nil {
			return errors.New("ADD of what is fetched is not supported: fetch it in a RUN")
		}
		return nil
	}
	return fmt.Errorf("%s is not supported", strings.ToUpper(c.Name()))
}

// builtInArgs are what every build may be given without asking for it.
func builtInArgs() []string {
	return []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "FTP_PROXY", "ftp_proxy", "NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy"}
}

// Plan gives the stages that target needs, those that others lie on first; the last
// is the target, the file's last stage where it is empty. args are the values of
// arguments. Errors: *[Error].
func (f *File) Plan(target string, args map[string]string) ([]Stage, error) {
	meta := map[string]string{"TARGETPLATFORM": "linux/" + runtime.GOARCH, "TARGETOS": "linux", "TARGETARCH": runtime.GOARCH, "BUILDPLATFORM": "linux/" + runtime.GOARCH}
	known := map[string]bool{}
	for _, name := range builtInArgs() {
		known[name] = true
	}
	for i := range f.meta {
		a := f.meta[i]
		if err := a.Expand(f.word(meta)); err != nil {
			return nil, at(&a, err)
		}
		for _, kv := range a.Args {
			known[kv.Key] = true
			if v, given := args[kv.Key]; given {
				meta[kv.Key] = v
			} else if kv.Value != nil {
				meta[kv.Key] = *kv.Value
			}
		}
	}
	last := len(f.stages) - 1
	if target != "" {
		i, ok := instructions.HasStage(f.stages, target)
		if !ok {
			return nil, &Error{Message: fmt.Sprintf("it has no stage %q", target)}
		}
		last = i
	}
	all := make([]Stage, last+1)
	needs := make([][]int, last+1)
	for i := range all {
		s, need, err := f.stage(i, meta, args)
		if err != nil {
			return nil, err
		}
		for _, c := range s.cmds {
			if a, ok := c.(*instructions.ArgCommand); ok {
				for _, kv := range a.Args {
					known[kv.Key] = true
				}
			}
		}
		all[i], needs[i] = s, need
	}
	for name := range args {
		if !known[name] {
			return nil, &Error{Message: fmt.Sprintf("it has no ARG %s", name)}
		}
	}
	wanted := map[int]bool{last: true}
	for i := last; i >= 0; i-- {
		if wanted[i] {
			for _, n := range needs[i] {
				wanted[n] = true
			}
		}
	}
	// Stages keep their numbers: those that nobody needs are empty.
	for i := range all {
		if !wanted[i] {
			all[i] = Stage{Base: -1}
		}
	}
	return all, nil
}

// Needed tells whether the stage is to be built.
func (s Stage) Needed() bool { return s.file != nil }

// stage is the stage i, and which others it needs.
func (f *File) stage(i int, meta, args map[string]string) (Stage, []int, error) {
	st := f.stages[i]
	line := 0
	if len(st.Location) > 0 {
		line = st.Location[0].Start.Line
	}
	fail := func(format string, a ...any) error { return &Error{Line: line, Message: fmt.Sprintf(format, a...)} }
	base, err := f.word(meta)(st.BaseName)
	if err != nil {
		return Stage{}, nil, fail("%v", err)
	}
	if base == "" {
		return Stage{}, nil, fail("FROM %s comes to nothing", st.BaseName)
	}
	if st.Platform != "" {
		p, err := f.word(meta)(st.Platform)
		if err != nil {
			return Stage{}, nil, fail("%v", err)
		}
		if p != "linux/"+runtime.GOARCH {
			return Stage{}, nil, fail("--platform=%s: this machine builds for linux/%s alone", p, runtime.GOARCH)
		}
	}
	s := Stage{Name: st.Name, From: base, Base: -1, file: f, cmds: st.Commands, meta: meta, args: args}
	if s.Name == "" {
		s.Name = fmt.Sprint(i)
	}
	var needs []int
	if n, ok := f.before(i, base, false); ok {
		s.From, s.Base = "", n
		needs = append(needs, n)
	}
	for _, c := range st.Commands {
		cp, ok := c.(*instructions.CopyCommand)
		if !ok || cp.From == "" {
			continue
		}
		if n, ok := f.before(i, cp.From, true); ok {
			needs = append(needs, n)
		}
	}
	return s, needs, nil
}

// before finds a stage before i by its name, or, where a number may be meant, by
// that.
func (f *File) before(i int, name string, number bool) (int, bool) {
	if n, ok := instructions.HasStage(f.stages[:i], name); ok {
		return n, true
	}
	if number {
		for n := range i {
			if name == fmt.Sprint(n) {
				return n, true
			}
		}
	}
	return 0, false
}

// word replaces variables in a word.
func (f *File) word(env map[string]string) instructions.SingleWordExpander {
	list := make([]string, 0, len(env))
	for k, v := range env {
		list = append(list, k+"="+v)
	}
	getter := shell.EnvsFromSlice(list)
	return func(word string) (string, error) {
		out, _, err := f.lex.ProcessWord(word, getter)
		return out, err
	}
}

// Builder goes through the steps of a stage: what the image says changes with them.
type Builder struct {
	s      Stage
	index  int
	next   int
	args   map[string]string
	Config config.ImageConfig
}

// Begin begins a stage, on an image that says base.
func (s Stage) Begin(index int, base config.ImageConfig) *Builder {
	return &Builder{s: s, index: index, args: map[string]string{}, Config: base.Clone()}
}

// Len is how many steps the stage has.
func (b *Builder) Len() int { return len(b.s.cmds) }

// Next gives the next step, with Config as it is for that step, and false after the
// last. Errors: *[Error].
func (b *Builder) Next() (Step, bool, error) {
	if b.next == len(b.s.cmds) {
		return Step{}, false, nil
	}
	c := b.s.cmds[b.next]
	b.next++
	step, err := b.step(c)
	if err != nil {
		return Step{}, false, at(c, err)
	}
	step.Text = strings.Join(strings.Fields(fmt.Sprint(c)), " ")
	return step, true, nil
}

// env is what variables stand for in an instruction: the image's environment, and
// over nothing of it the arguments.
func (b *Builder) env() map[string]string {
	env := map[string]string{}
	for k, v := range b.args {
		env[k] = v
	}
	for _, kv := range b.Config.Env {
		k, v, _ := strings.Cut(kv, "=")
		env[k] = v
	}
	return env
}

func (b *Builder) step(c instructions.Command) (Step, error) {
	if e, ok := c.(instructions.SupportsSingleWordExpansion); ok {
		if _, run := c.(*instructions.RunCommand); !run { // the shell's own
			if err := e.Expand(b.s.file.word(b.env())); err != nil {
				return Step{}, err
			}
		}
	}
	cfg := &b.Config
	switch c := c.(type) {
	case *instructions.ArgCommand:
		for _, kv := range c.Args {
			if v, given := b.s.args[kv.Key]; given {
				b.args[kv.Key] = v
			} else if kv.Value != nil {
				b.args[kv.Key] = *kv.Value
			} else if v, ok := b.s.meta[kv.Key]; ok {
				b.args[kv.Key] = v
			}
		}
	case *instructions.EnvCommand:
		for _, kv := range c.Env {
			cfg.Env = append(slices.DeleteFunc(cfg.Env, func(had string) bool { return strings.HasPrefix(had, kv.Key+"=") }), kv.Key+"="+kv.Value)
		}
	case *instructions.LabelCommand:
		if cfg.Labels == nil {
			cfg.Labels = map[string]string{}
		}
		for _, kv := range c.Labels {
			cfg.Labels[kv.Key] = kv.Value
		}
	case *instructions.WorkdirCommand:
		cfg.Workdir = b.path(c.Path)
		return Step{Kind: Workdir, Dir: cfg.Workdir}, nil
	case *instructions.UserCommand:
		cfg.User = c.User
	case *instructions.ShellCommand:
		cfg.Shell = c.Shell
	case *instructions.CmdCommand:
		cfg.Cmd = b.argv(c.ShellDependantCmdLine)
	case *instructions.EntrypointCommand:
		cfg.Entrypoint, cfg.Cmd = b.argv(c.ShellDependantCmdLine), nil
	case *instructions.ExposeCommand:
		cfg.ExposedPorts = append(cfg.ExposedPorts, c.Ports...)
	case *instructions.StopSignalCommand:
		cfg.StopSignal = c.Signal
	case *instructions.RunCommand:
		return Step{Kind: Run, Argv: b.argv(c.ShellDependantCmdLine), Env: b.runArgs()}, nil
	case *instructions.CopyCommand:
		return b.copies(c.SourcesAndDest, c.From, c.Chown, c.Chmod, c.ExcludePatterns, false)
	case *instructions.AddCommand:
		return b.copies(c.SourcesAndDest, "", c.Chown, c.Chmod, c.ExcludePatterns, c.Unpack == nil || *c.Unpack)
	}
	return Step{Kind: Note}, nil
}

// path is a path from the working directory on.
func (b *Builder) path(p string) string {
	dir := b.Config.Workdir
	if dir == "" {
		dir = "/"
	}
	if !path.IsAbs(p) {
		p = path.Join(dir, p)
	}
	return path.Clean("/" + p)
}

func (b *Builder) argv(c instructions.ShellDependantCmdLine) []string {
	line := slices.Clone(c.CmdLine)
	if len(c.Files) == 1 && c.PrependShell {
		// The shell's input is the script, where that is all there is.
		if name := c.Files[0].Name; len(line) == 1 && strings.TrimSpace(strings.TrimPrefix(line[0], "<<"+name)) != line[0] {
			line = []string{c.Files[0].Data}
		} else {
			line = []string{strings.Join(line, " ") + "\n" + c.Files[0].Data + c.Files[0].Name + "\n"}
		}
	}
	if !c.PrependShell {
		return line
	}
	sh := b.Config.Shell
	if len(sh) == 0 {
		sh = []string{"/bin/sh", "-c"}
	}
	return append(slices.Clone(sh), strings.Join(line, " "))
}

// runArgs are the arguments as variables of a program.
func (b *Builder) runArgs() []string {
	env := b.env()
	var out []string
	for _, name := range builtInArgs() {
		if v, ok := b.s.args[name]; ok {
			out = append(out, name+"="+v)
		}
	}
	for k := range b.args {
		out = append(out, k+"="+env[k])
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (b *Builder) copies(sd instructions.SourcesAndDest, from, chown, chmod string, exclude []string, unpack bool) (Step, error) {
	s := &CopyStep{Stage: -1, Owner: chown, Mode: -1, Exclude: exclude, Unpack: unpack}
	if from != "" {
		if n, ok := b.s.file.before(b.index, from, true); ok {
			s.Stage = n
		} else {
			s.From = from
		}
	}
	if chmod != "" {
		if _, err := fmt.Sscanf(chmod, "%o", &s.Mode); err != nil || s.Mode < 0 || s.Mode > 0o7777 || strings.Trim(chmod, "01234567") != "" {
			return Step{}, fmt.Errorf("--chmod=%s: permissions are octal digits, such as 755", chmod)
		}
	}
	for _, src := range sd.SourcePaths {
		s.Sources = append(s.Sources, strings.TrimPrefix(path.Clean("/"+src), "/"))
	}
	for _, c := range sd.SourceContents {
		s.Inline = append(s.Inline, Inline{Name: c.Path, Data: c.Data})
	}
	s.Dest = b.path(sd.DestPath)
	many := len(s.Sources)+len(s.Inline) > 1
	if strings.HasSuffix(sd.DestPath, "/") || sd.DestPath == "." || strings.HasSuffix(sd.DestPath, "/.") || many {
		if many && !strings.HasSuffix(sd.DestPath, "/") && sd.DestPath != "." {
			return Step{}, fmt.Errorf("several files go into a directory: %s needs a slash behind it", sd.DestPath)
		}
		if s.Dest != "/" {
			s.Dest += "/"
		}
	}
	return Step{Kind: Copy, Copy: s}, nil
}

// Images lists the images that the stages of a target are built on, or copy from, as
// far as that can be told beforehand. It may be asked once, in place of Plan.
func (f *File) Images(target string, args map[string]string) ([]string, error) {
	stages, err := f.Plan(target, args)
	if err != nil {
		return nil, err
	}
	var refs []string
	for i, s := range stages {
		if !s.Needed() {
			continue
		}
		if s.From != "" {
			refs = append(refs, s.From)
		}
		for _, c := range s.cmds {
			if cp, ok := c.(*instructions.CopyCommand); ok && cp.From != "" {
				if _, ok := f.before(i, cp.From, true); !ok {
					refs = append(refs, cp.From)
				}
			}
		}
	}
	return refs, nil
}
