package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"cove/config"
	"cove/runtime/api"
	"cove/tui"
)

// runTUI shows the terminal interface until the person leaves it.
func (a *app) runTUI(ctx context.Context) error {
	if _, err := a.client(ctx); err != nil {
		return err
	}
	profiles, err := a.profiles()
	if err != nil {
		return err
	}
	settings, err := config.LoadSettings(profiles.SystemDir, profiles.UserDir)
	if err != nil {
		return err
	}
	first := settings.DefaultProfile
	// A broken one is in the list, and says there what is wrong with it.
	if own, err := profiles.Own(); err == nil && own != nil && trusted(own) {
		first = "./" + config.ProjectFile
	}
	return tui.Run(ctx, tui.Options{
		Backend:   backend{a},
		Images:    backend{a},
		Snapshots: backend{a},
		Builds:    backend{a},
		Volumes:   backend{a},
		Changes:   backend{a},
		Profiles:  profileSource(profiles, first),
		ValidName: config.ValidName,
		SpecText:  specTOML,
		Sort:      settings.UI.Sort,
		In:        a.stdin,
		Out:       a.stdout,
		Environ:   os.Environ(),
		ASCII:     settings.UI.Glyphs == config.GlyphsASCII,
	})
}

// backend is the daemon as the TUI sees it.
type backend struct{ a *app }

// errDaemonStopped is what watching gets of a daemon that somebody has stopped.
var errDaemonStopped = errors.New("it was stopped; cove daemon start starts it again")

// watching is the client of what only looks on. It starts a daemon that died,
// since a list that stays stale helps nobody, and not one that was stopped: that
// has taken its socket with it.
func (b backend) watching(ctx context.Context) (*api.Client, error) {
	if _, err := os.Lstat(b.a.dirs.Socket()); errors.Is(err, os.ErrNotExist) {
		return nil, errDaemonStopped
	}
	return b.a.client(ctx)
}

func (b backend) Watch(ctx context.Context, since api.Cursor, each func(api.Event) error) error {
	var cursor *api.Cursor
	if since != (api.Cursor{}) {
		cursor = &since
	}
	client, err := b.watching(ctx)
	if err != nil {
		return explain(err, "")
	}
	stream, err := client.Events(ctx, cursor, true)
	if err != nil {
		return explain(err, "")
	}
	defer closeQuietly(stream)
	for {
		ev, err := stream.Next()
		if err != nil {
			return err
		}
		if err := each(ev); err != nil {
			return err
		}
	}
}

func (b backend) Stats(ctx context.Context, each func(api.StatsReport) error) error {
	client, err := b.watching(ctx)
	if err != nil {
		return explain(err, "")
	}
	stream, err := client.FollowStats(ctx)
	if err != nil {
		return explain(err, "")
	}
	defer closeQuietly(stream)
	for {
		r, err := stream.Next()
		if err != nil {
			return err
		}
		if err := each(r); err != nil {
			return err
		}
	}
}

func (b backend) Create(ctx context.Context, id, name string, spec config.Spec) (api.Sandbox, error) {
	secrets, err := secretsHere(spec)
	if err != nil {
		return api.Sandbox{}, err
	}
	dirs, err := openDirs(spec.Mounts)
	if err != nil {
		return api.Sandbox{}, err
	}
	defer closeAll(dirs)
	client, err := b.a.client(ctx)
	if err != nil {
		return api.Sandbox{}, err
	}
	req := api.CreateRequest{ID: id, Name: name, Spec: withIdentity(ctx, spec), Secrets: secrets, Dirs: dirs}
	if err := b.a.bringImage(ctx, &req); err != nil {
		return api.Sandbox{}, err
	}
	made, err := client.Create(ctx, req)
	return made, explain(err, name)
}

func (b backend) Start(ctx context.Context, id string) error {
	return b.do(ctx, func(client *api.Client) error {
		secrets, err := secretsFor(ctx, client, id)
		if err != nil {
			return err
		}
		_, err = client.Start(ctx, id, api.StartRequest{Secrets: secrets})
		return err
	})
}

func (b backend) Stop(ctx context.Context, id string) error {
	return b.do(ctx, func(client *api.Client) error {
		_, err := client.Stop(ctx, id, api.StopRequest{})
		return err
	})
}

func (b backend) Restart(ctx context.Context, id string) error {
	return b.do(ctx, func(client *api.Client) error {
		secrets, err := secretsFor(ctx, client, id)
		if err != nil {
			return err
		}
		_, err = client.Restart(ctx, id, api.StartRequest{Secrets: secrets})
		return err
	})
}

func (b backend) Delete(ctx context.Context, id string) error {
	return b.do(ctx, func(client *api.Client) error {
		_, err := client.Delete(ctx, id, false)
		return err
	})
}

func (b backend) Pause(ctx context.Context, id string) error {
	return b.do(ctx, func(client *api.Client) error {
		_, err := client.Pause(ctx, id)
		return err
	})
}

func (b backend) Resume(ctx context.Context, id string) error {
	return b.do(ctx, func(client *api.Client) error {
		_, err := client.Resume(ctx, id)
		return err
	})
}

func (b backend) Rename(ctx context.Context, id, name string) error {
	return b.do(ctx, func(client *api.Client) error {
		_, err := client.Rename(ctx, id, name)
		return err
	})
}

func (b backend) SetLabels(ctx context.Context, id string, r api.LabelsRequest) error {
	return b.do(ctx, func(client *api.Client) error {
		_, err := client.SetLabels(ctx, id, r)
		return err
	})
}

func (b backend) Get(ctx context.Context, id string) (d api.Detail, err error) {
	return d, b.do(ctx, func(client *api.Client) error {
		d, err = client.Get(ctx, id)
		return err
	})
}

func (b backend) Attach(ctx context.Context, id string, r api.AttachRequest) (io.ReadWriteCloser, error) {
	client, err := b.a.client(ctx)
	if err != nil {
		return nil, err
	}
	conn, err := client.Attach(ctx, id, r)
	if err != nil {
		return nil, explain(err, "")
	}
	return conn, nil
}

func (b backend) do(ctx context.Context, what func(*api.Client) error) error {
	client, err := b.a.client(ctx)
	if err != nil {
		return err
	}
	return explain(what(client), "")
}

// secretsHere reads from the environment what a new sandbox of spec is
// promised, and fails where it lacks something.
func secretsHere(spec config.Spec) (map[string]string, error) {
	secrets, missing := spec.Secrets(os.LookupEnv)
	if len(missing) > 0 {
		err := fmt.Errorf("the profile takes %s from the environment, where it is not set", strings.Join(missing, ", "))
		return nil, hint(err, "set it before, or give --env %s=...", missing[0])
	}
	return secrets, nil
}
