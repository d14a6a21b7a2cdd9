package main

import (
	"context"
	"time"

	"cove/config"
	"cove/runtime/api"
)

func (b backend) Resize(ctx context.Context, id string, r api.ResizeRequest) error {
	return b.do(ctx, func(client *api.Client) error {
		_, err := client.Resize(ctx, id, r)
		return err
	})
}

func (b backend) Touch(ctx context.Context, id string) error {
	return b.do(ctx, func(client *api.Client) error {
		_, err := client.Touch(ctx, id)
		return err
	})
}

func (b backend) Archive(ctx context.Context, id string) error {
	return b.do(ctx, func(client *api.Client) error {
		_, err := client.Archive(ctx, id, api.ArchiveRequest{})
		return err
	})
}

func (b backend) Undo(ctx context.Context) (api.Sandbox, error) {
	var back api.Sandbox
	err := b.do(ctx, func(client *api.Client) (err error) {
		back, err = undo(ctx, client, "")
		return err
	})
	return back, err
}

func (b backend) SetAutomation(ctx context.Context, id string, auto config.Automation) error {
	return b.do(ctx, func(client *api.Client) error {
		_, err := client.SetAutomation(ctx, id, auto)
		return err
	})
}

func (b backend) History(ctx context.Context, id string, span time.Duration) (h api.History, err error) {
	return h, b.look(ctx, func(client *api.Client) error {
		h, err = client.History(ctx, id, span)
		return err
	})
}

func (b backend) Status(ctx context.Context) (st api.DaemonStatus, err error) {
	return st, b.look(ctx, func(client *api.Client) error {
		st, err = client.Status(ctx)
		return err
	})
}

func (b backend) GPUs(ctx context.Context) (list []api.GPU, err error) {
	return list, b.look(ctx, func(client *api.Client) error {
		list, err = client.GPUs(ctx)
		return err
	})
}

// look is do for what only looks on.
func (b backend) look(ctx context.Context, what func(*api.Client) error) error {
	client, err := b.watching(ctx)
	if err != nil {
		return explain(err, "")
	}
	return explain(what(client), "")
}
