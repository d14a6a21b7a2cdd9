package sandbox

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"cove/config"
	"cove/runtime/dockerfile"
	"cove/runtime/frame"
	"cove/runtime/guest"
	"cove/runtime/image"
	"cove/runtime/lifecycle"
	"cove/runtime/rootfs"
)

// buildLayer begins the names of layers that steps made.
const buildLayer = "build-"

// building is a build under way.
type building struct {
	m    *Manager
	o    *operation
	plan recipe
	auth map[string]*image.Auth
	log  *setupLog
	to   io.Writer

	done     []built // by stage
	releases []func()
}

// built is what a stage came to.
type built struct {
	base     rootfs.Base
	config   config.ImageConfig
	key      string // of all that went into it
	image    string // that lies lowest
	snapshot string
}

func (x *building) release() {
	for _, f := range x.releases {
		f()
	}
}

// Write takes what a step prints.
func (x *building) Write(p []byte) (int, error) {
	if x.to != nil {
		_, _ = x.to.Write(p) // whoever watches may have gone
	}
	return x.log.Write(p)
}

// note adds a line of the build's own.
func (x *building) note(format string, args ...any) {
	x.log.note(format, args...)
	if x.to != nil {
		_, _ = fmt.Fprintf(x.to, format+"\n", args...)
	}
}

func (x *building) run() (built, error) {
	stages, err := x.plan.stages()
	if err != nil {
		return built{}, err
	}
	x.done = make([]built, len(stages))
	for i, s := range stages {
		if !s.Needed() {
			continue
		}
		if x.done[i], err = x.stage(i, s, len(stages)); err != nil {
			return built{}, err
		}
	}
	return x.done[len(stages)-1], nil
}

// stage goes through the steps of one stage.
func (x *building) stage(i int, s dockerfile.Stage, of int) (built, error) {
	at, err := x.from(s)
	if err != nil {
		return built{}, err
	}
	steps := s.Begin(i, at.config)
	where := ""
	if of > 1 {
		where = s.Name + " "
	}
	for n := 1; ; n++ {
		step, more, err := steps.Next()
		if err != nil {
			return built{}, err
		}
		if !more {
			return at, nil
		}
		head := fmt.Sprintf("[%s%d/%d] %s", where, n, steps.Len(), headline(step.Text))
		at.config = steps.Config.Clone()
		at.key = hashOf(at.key, step.Text, step, at.config)
		if step.Kind == dockerfile.Note {
			x.note("%s", head)
			continue
		}
		if err := x.o.point("step"); err != nil {
			return built{}, err
		}
		x.o.doing(head)
		if at.base, at.key, err = x.step(step, at, head); err != nil {
			if x.o.ctx.Err() != nil {
				return built{}, context.Cause(x.o.ctx)
			}
			var wrong *InvalidError
			if errors.As(err, &wrong) || errors.Is(err, ErrNoSpace) {
				return built{}, err
			}
			var img *ImageError
			if errors.As(err, &img) {
				return built{}, err
			}
			return built{}, &BuildError{Name: x.o.b.record().Name, Step: head, Why: oneLine(err.Error())}
		}
	}
}

// hashOf is a digest of things that can be told as JSON.
func hashOf(parts ...any) string {
	h := sha256.New()
	enc := json.NewEncoder(h)
	for _, p := range parts {
		_ = enc.Encode(p) // what is told here can be
	}
	return hex.EncodeToString(h.Sum(nil))
}

// from is what a stage begins on.
func (x *building) from(s dockerfile.Stage) (built, error) {
	if s.Base >= 0 {
		return x.done[s.Base], nil
	}
	return x.image(s.From)
}

// image is an image, or a snapshot, or the host, to build on.
func (x *building) image(ref string) (built, error) {
	m, owner := x.m, x.o.b.record().Owner
	at := built{image: ref}
	switch {
	case ref == "scratch":
		release, err := m.opt.Layers.Make(x.o.ctx, "scratch", func(context.Context, *os.File) error { return nil })
		if err != nil {
			return built{}, noSpace(err)
		}
		x.releases = append(x.releases, release)
		at.base = rootfs.Base{Layers: []string{"scratch"}}
	default:
		r := CreateRequest{Spec: config.Spec{Image: ref}}
		if registry, err := image.Registry(ref); err == nil {
			r.Auth = x.auth[registry]
		}
		x.o.doing("FROM " + ref)
		from, err := m.originOf(x.o, r)
		if err != nil {
			return built{}, err
		}
		x.o.enter(lifecycle.BuildingSnapshot)
		x.releases = append(x.releases, from.release)
		at.base, at.config, at.snapshot = from.base, from.config, from.snapshot
	}
	generation := ""
	if at.base.Host {
		if err := m.opt.Rootfs.Prepare(x.o.ctx); err != nil {
			return built{}, noSpace(err)
		}
		generation = m.opt.Rootfs.Generation()
	} else if err := x.places(&at); err != nil {
		return built{}, err
	}
	at.key = hashOf("1", owner, at.base, at.config, generation)
	return at, nil
}

// places has what every sandbox needs at / in a layer of its own, so that no step's
// has it.
func (x *building) places(at *built) error {
	lacks := x.m.opt.Layers.Lacks(at.base)
	name := buildLayer + "places-" + hashOf(lacks)[:16]
	release, err := x.m.opt.Layers.Make(x.o.ctx, name, func(_ context.Context, root *os.File) error {
		return rootfs.Furnish(root, rootfs.Fresh{Hostname: "build", Resolver: true, Dirs: lacks})
	})
	if err != nil {
		return noSpace(err)
	}
	x.releases = append(x.releases, release)
	at.base = at.base.With(name)
	return nil
}

// step does one step on at, or finds it done, and gives what is there then.
func (x *building) step(s dockerfile.Step, at built, head string) (rootfs.Base, string, error) {
	key := at.key
	var sources *copySources
	if s.Kind == dockerfile.Copy {
		var err error
		if sources, err = x.sources(s.Copy); err != nil {
			return at.base, key, err
		}
		defer sources.close()
		key = hashOf(key, sources.digest)
	}
	m := x.m
	if !x.plan.NoCache {
		if layer, ok := m.builds.find(key); ok {
			if layer == "" {
				x.note("%s: CACHED", head)
				return at.base, key, nil
			}
			if release, err := m.opt.Layers.Pin(layer); err == nil {
				x.releases = append(x.releases, release)
				x.note("%s: CACHED", head)
				return at.base.With(layer), key, nil
			}
		}
	}
	x.note("%s", head)
	var err error
	switch s.Kind {
	case dockerfile.Run:
		err = x.runs(s, at)
	case dockerfile.Workdir:
		err = x.inside(x.record(at, "", s.Dir), func(*guest.Client) error { return nil })
	case dockerfile.Copy:
		err = x.copies(s.Copy, sources, at)
	case dockerfile.Note:
	}
	if err != nil {
		return at.base, key, err
	}
	layer, err := x.take(key)
	if err != nil {
		return at.base, key, noSpace(err)
	}
	if err := m.builds.add(key, layer); err != nil {
		return at.base, key, err
	}
	if layer == "" {
		return at.base, key, nil
	}
	return at.base.With(layer), key, nil
}

// take makes what the step has changed a layer; "" where that is nothing.
func (x *building) take(key string) (string, error) {
	m, id := x.m, x.o.b.id
	top, err := os.Open(m.stateDir(id))
	if err != nil {
		return "", err
	}
	same, err := rootfs.Unchanged(top)
	if err := errors.Join(err, top.Close()); err != nil || same {
		return "", err
	}
	fresh, err := newID()
	if err != nil {
		return "", err
	}
	// Another build may be at the same step.
	layer := buildLayer + key[:32] + "-" + fresh
	if err := m.opt.Rootfs.Commit(x.o.ctx, m.stateDir(id), m.target(id), layer); err != nil {
		return "", err
	}
	release, err := m.opt.Layers.Pin(layer)
	if err != nil {
		return "", err
	}
	x.releases = append(x.releases, release)
	return layer, nil
}

// record is what the sandbox is for one step.
func (x *building) record(at built, user, dir string) record {
	rec := x.o.b.record()
	rec.Base, rec.Config = at.base, config.ImageConfig{}
	rec.Spec.User, rec.Spec.Workdir = user, dir
	if dir == "" {
		rec.Spec.Workdir = "/"
	}
	rec.Spec.Env = map[string]config.EnvVar{"PATH": {Value: config.DefaultPath}}
	for _, kv := range at.config.Env {
		k, v, _ := strings.Cut(kv, "=")
		rec.Spec.Env[k] = config.EnvVar{Value: v}
	}
	return rec
}

// inside launches the sandbox on what is there, does something in it, and ends it.
func (x *building) inside(rec record, do func(*guest.Client) error) error {
	if err := x.m.launchAs(x.o, rec, nil, nil); err != nil {
		return err
	}
	x.o.stage("launched")
	err := do(x.m.client(rec.ID))
	x.m.stopNow(x.o.b)
	x.o.b.mu.Lock()
	x.o.b.run = nil
	x.o.b.mu.Unlock()
	return err
}

// runs carries out a RUN.
func (x *building) runs(s dockerfile.Step, at built) error {
	env := map[string]string{}
	for _, kv := range s.Env {
		k, v, _ := strings.Cut(kv, "=")
		env[k] = v
	}
	return x.inside(x.record(at, at.config.User, at.config.Workdir), func(client *guest.Client) error {
		exit, err := client.Run(x.o.ctx, guest.Request{Argv: s.Argv, Env: env, Timeout: setupTimeout, Unlogged: true}, nil, x, x)
		if x.o.ctx.Err() != nil {
			return context.Cause(x.o.ctx)
		}
		if why := whySetupFailed(exit, err, x.log); why != "" {
			return errors.New(why)
		}
		return nil
	})
}

// exitError says what was wrong with a copy.
func copyError(exit frame.ExitStatus, stderr string) error {
	if exit.Code == 0 && exit.Error == "" {
		return nil
	}
	var sum struct {
		Fatal       string `json:"fatal"`
		FirstFailed string `json:"first_failed"`
	}
	_ = json.Unmarshal([]byte(stderr), &sum)
	switch {
	case exit.Error != "":
		return errors.New(oneLine(exit.Error))
	case sum.Fatal != "":
		return errors.New(oneLine(sum.Fatal))
	case sum.FirstFailed != "":
		return errors.New(oneLine(sum.FirstFailed))
	}
	return fmt.Errorf("the copy ended with status %d: %s", exit.Code, oneLine(stderr))
}

// tempFile is a file in the build's own directory that is gone with it.
func (x *building) tempFile() (*os.File, error) {
	f, err := os.CreateTemp(x.m.stateDir(x.o.b.id), "copy-")
	if err != nil {
		return nil, noSpace(err)
	}
	return f, os.Remove(f.Name())
}

func (x *building) contextPath() string { return filepath.Join(x.m.stateDir(x.o.b.id), contextFile) }
