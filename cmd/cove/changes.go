package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"cove/config"
	"cove/runtime/api"
	"cove/runtime/change"
	"cove/runtime/delta"
	"cove/runtime/frame"
	"cove/runtime/lifecycle"
)

// mounted is a copy-on-write mount, and of it what a command is about.
type mounted struct {
	mount config.Mount
	// paths are below its target; none are all.
	paths []string
}

// foundIn is what was found in one.
type foundIn struct {
	mounted
	found []change.Found
}

func (c foundIn) set() api.ChangeSet {
	return api.ChangeSet{Source: c.mount.Source, Target: c.mount.Target, Changes: change.Changes(c.found)}
}

// cowMounts are the copy-on-write mounts that paths are in, or all. A path is one
// inside the sandbox; a relative one begins at the only mount's target.
func cowMounts(d api.Detail, paths []string) ([]mounted, error) {
	var all []mounted
	for _, m := range d.Spec.Mounts {
		if m.Mode == config.MountCOW {
			all = append(all, mounted{mount: m})
		}
	}
	if len(all) == 0 {
		return nil, hint(fmt.Errorf("%s: it has no copy-on-write mount", d.Name), "make one with: cove create --mount .:/workspace:cow")
	}
	if len(paths) == 0 {
		return all, nil
	}
	for _, p := range paths {
		i, rel, err := cowPath(all, p)
		if err != nil {
			return nil, err
		}
		all[i].paths = append(all[i].paths, rel)
	}
	return slices.DeleteFunc(all, func(m mounted) bool { return len(m.paths) == 0 }), nil
}

func cowPath(all []mounted, p string) (index int, rel string, err error) {
	if !path.IsAbs(p) {
		if len(all) > 1 {
			return 0, "", usagef("%q: it has %d copy-on-write mounts; begin the path with one's target, such as %s", p, len(all), all[0].mount.Target)
		}
		if rel = path.Clean(p); !delta.ValidPath(rel) {
			return 0, "", usagef("%q is no path below %s", p, all[0].mount.Target)
		}
		return 0, rel, nil
	}
	best := -1
	for i, m := range all {
		target := path.Clean(m.mount.Target)
		if p := path.Clean(p); (p == target || strings.HasPrefix(p, target+"/")) && (best < 0 || len(target) > len(all[best].mount.Target)) {
			best = i
			rel = strings.TrimPrefix(strings.TrimPrefix(p, target), "/")
		}
	}
	if best < 0 {
		return 0, "", usagef("%q lies in no copy-on-write mount; they are at %s", p, targets(all))
	}
	if rel == "" {
		rel = "."
	}
	return best, rel, nil
}

func targets(all []mounted) string {
	names := make([]string, len(all))
	for i, m := range all {
		names[i] = m.mount.Target
	}
	return strings.Join(names, ", ")
}

// compare finds what a sandbox has changed in a mount, as the caller.
func (m mounted) compare(ctx context.Context, client *api.Client, ref string, text change.Text) (foundIn, error) {
	dir, err := change.OpenDir(m.mount.Source)
	if err != nil {
		return foundIn{}, mountError(m.mount, err)
	}
	defer closeQuietly(dir)
	found, _, err := m.compareTo(ctx, client, ref, dir, text)
	return foundIn{mounted: m, found: found}, err
}

func (m mounted) compareTo(ctx context.Context, client *api.Client, ref string, dir *change.Dir, text change.Text) (found []change.Found, settled []delta.Change, err error) {
	stream, err := client.Changes(ctx, ref, api.ChangesRequest{Target: m.mount.Target, Paths: m.paths})
	if err != nil {
		return nil, nil, explain(err, "")
	}
	defer closeQuietly(stream)
	found, err = change.Compare(ctx, stream, dir, change.Options{Paths: m.paths, Text: text, Settled: func(c delta.Change) { settled = append(settled, c) }})
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", m.mount.Source, err)
	}
	return found, settled, nil
}

// apply makes the changes that were found, and tells the daemon of those that were.
func (m mounted) apply(ctx context.Context, client *api.Client, ref string, dir *change.Dir, found []change.Found, tell func(change.Outcome)) error {
	if len(found) == 0 {
		return nil
	}
	stream, err := client.Changes(ctx, ref, api.ChangesRequest{Target: m.mount.Target, Paths: m.paths})
	if err != nil {
		return explain(err, "")
	}
	defer closeQuietly(stream)
	made, err := change.Apply(ctx, stream, dir, found, tell)
	return errors.Join(err, m.mark(context.WithoutCancel(ctx), client, ref, made))
}

// Changes are told some at a time: a request has a limit (api.MaxBody).
const (
	markBatch = 2000
	markBytes = 256 << 10
)

func (m mounted) mark(ctx context.Context, client *api.Client, ref string, made []delta.Change) error {
	for len(made) > 0 {
		n, size := 0, 0
		for n < len(made) && n < markBatch && size < markBytes {
			size += len(made[n].Path)
			if b := made[n].Base; b != nil {
				size += len(b.Link)
			}
			n++
		}
		if err := client.Applied(ctx, ref, api.AppliedRequest{Target: m.mount.Target, Changes: made[:n]}); err != nil {
			return explain(err, "")
		}
		made = made[n:]
	}
	return nil
}

// discard takes back what was found. Of a stopped sandbox the daemon does, which
// takes it out of what it has changed; one that is started is made to have again what
// the host has, by programs inside: the kernel forbids others to touch what an
// overlay in use has written.
func (m mounted) discard(ctx context.Context, client *api.Client, d api.Detail, dir *change.Dir, found []change.Found) error {
	if len(found) == 0 {
		return nil
	}
	var err error
	if d.State == lifecycle.Started {
		err = m.discardInside(ctx, client, d.ID, dir, found)
	} else {
		paths := m.paths
		if len(paths) == 0 {
			paths = []string{"."}
		}
		_, err = client.Discard(ctx, d.ID, api.DiscardRequest{Target: m.mount.Target, Paths: paths})
		err = explain(err, d.Name)
	}
	if err != nil {
		return err
	}
	marks, err := change.Marks(dir, found)
	if err != nil {
		return err
	}
	return m.mark(ctx, client, d.ID, marks)
}

// discardInside removes what was made or changed, and copies in what the host has.
func (m mounted) discardInside(ctx context.Context, client *api.Client, ref string, dir *change.Dir, found []change.Found) error {
	const atOnce = 500
	for part := range slices.Chunk(change.Removals(found), atOnce) {
		argv := []string{"rm", "-rf", "--"}
		for _, p := range part {
			argv = append(argv, path.Join(m.mount.Target, p))
		}
		if err := runQuietly(ctx, client, ref, api.ExecRequest{Argv: argv, User: "0", Dir: "/"}); err != nil {
			return err
		}
	}
	back := change.Returns(found)
	if len(back) == 0 {
		return nil
	}
	conn, err := client.Files(ctx, ref, api.FilesRequest{Op: api.FilesExtract, Path: m.mount.Target})
	if err != nil {
		return explain(err, "")
	}
	e := &end{where: endpoint{sandbox: ref}, conn: conn, stop: context.AfterFunc(ctx, func() { closeQuietly(conn) })}
	defer e.close()
	sent := make(chan error, 1)
	go func() {
		tw := tar.NewWriter(stdinOf{conn, nil})
		err := change.Pack(tw, dir, back)
		if err == nil {
			err = tw.Close()
		}
		_ = conn.CloseStdin()
		sent <- err
	}()
	t, err := e.pump(nil, nil)
	e.close()
	if perr := <-sent; perr != nil && !errors.Is(perr, io.ErrClosedPipe) {
		return perr
	}
	switch {
	case err != nil:
		return err
	case t.sum.Fatal != "":
		return errors.New(t.sum.Fatal)
	case t.sum.Failed > 0:
		return fmt.Errorf("%s%s", t.sum.FirstFailed, more(t.sum.Failed))
	}
	return nil
}

// runQuietly runs a program inside, whose output matters only where it fails.
func runQuietly(ctx context.Context, client *api.Client, ref string, r api.ExecRequest) error {
	conn, err := client.Exec(ctx, ref, r)
	if err != nil {
		return explain(err, "")
	}
	defer closeQuietly(conn)
	stop := context.AfterFunc(ctx, func() { closeQuietly(conn) })
	defer stop()
	said := &strings.Builder{}
	st, err := conn.Pump(frame.Streams{Stderr: &beginning{said}})
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return err
	case st.Code != 0:
		return fmt.Errorf("%s inside: %q", r.Argv[0], strings.TrimSpace(said.String()))
	}
	return nil
}

// beginning keeps the beginning of what is written.
type beginning struct{ b *strings.Builder }

func (l *beginning) Write(p []byte) (int, error) {
	if room := 300 - l.b.Len(); room > 0 {
		l.b.Write(p[:min(len(p), room)])
	}
	return len(p), nil
}
