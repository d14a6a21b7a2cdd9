package main

import (
	"context"
	"errors"
	"io"

	"cove/runtime/api"
)

// Images, Pull, RemoveImage and PruneImages are the TUI's images.
func (b backend) Images(ctx context.Context) (list []api.Image, err error) {
	return list, b.do(ctx, func(client *api.Client) error {
		list, err = client.Images(ctx)
		return err
	})
}

func (b backend) Pull(ctx context.Context, ref string, each func(api.Progress)) (image api.Image, err error) {
	auth, err := registryAuth(ref)
	if err != nil {
		return image, err
	}
	return image, b.do(ctx, func(client *api.Client) error {
		image, err = client.PullImage(ctx, api.PullRequest{Ref: ref, Auth: auth}, each)
		return err
	})
}

func (b backend) RemoveImage(ctx context.Context, ref string) error {
	return b.do(ctx, func(client *api.Client) error {
		_, err := client.RemoveImage(ctx, ref)
		return err
	})
}

func (b backend) PruneImages(ctx context.Context) (r api.PruneReport, err error) {
	return r, b.do(ctx, func(client *api.Client) error {
		r, err = client.PruneImages(ctx)
		return err
	})
}

// Snapshots, Snapshot, Fork and DeleteSnapshot are the TUI's snapshots.
func (b backend) Snapshots(ctx context.Context) (list []api.Snapshot, err error) {
	return list, b.do(ctx, func(client *api.Client) error {
		list, err = client.Snapshots(ctx)
		return err
	})
}

func (b backend) Snapshot(ctx context.Context, id, name string) (s api.Snapshot, err error) {
	return s, b.do(ctx, func(client *api.Client) error {
		s, err = client.Snapshot(ctx, id, api.SnapshotRequest{Name: name})
		return err
	})
}

func (b backend) Fork(ctx context.Context, id string, r api.ForkRequest) (f api.ForkResult, err error) {
	return f, b.do(ctx, func(client *api.Client) error {
		d, err := client.Get(ctx, id)
		if err != nil {
			return err
		}
		f, err = forkAs(ctx, client, d.Spec, id, r)
		return err
	})
}

func (b backend) DeleteSnapshot(ctx context.Context, ref string) error {
	return b.do(ctx, func(client *api.Client) error {
		_, err := client.RemoveSnapshot(ctx, ref)
		return err
	})
}

// Rebuild and LogEnd are the TUI's builds.
func (b backend) Rebuild(ctx context.Context, id string) (s api.Snapshot, err error) {
	return s, b.do(ctx, func(client *api.Client) error {
		s, err = client.Rebuild(ctx, id, nil)
		return err
	})
}

func (b backend) LogEnd(ctx context.Context, id string, n int) (last []api.LogLine, err error) {
	return last, b.do(ctx, func(client *api.Client) error {
		stream, err := client.Logs(ctx, id, false)
		if err != nil {
			return err
		}
		defer closeQuietly(stream)
		for {
			line, err := stream.Next()
			switch {
			case errors.Is(err, io.EOF):
				return nil
			case err != nil:
				return err
			case line.Stream == api.LogPing || n < 1:
				continue
			case len(last) == n:
				last = append(last[:0], last[1:]...)
			}
			last = append(last, line)
		}
	})
}
