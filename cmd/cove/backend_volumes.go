package main

import (
	"context"

	"cove/config"
	"cove/runtime/api"
)

// Volumes implements tui.Volumes.
func (b backend) Volumes(ctx context.Context) ([]api.Volume, error) {
	client, err := b.a.client(ctx)
	if err != nil {
		return nil, err
	}
	return client.Volumes(ctx)
}

// CreateVolume implements tui.Volumes.
func (b backend) CreateVolume(ctx context.Context, r api.VolumeRequest) (api.Volume, error) {
	client, err := b.a.client(ctx)
	if err != nil {
		return api.Volume{}, err
	}
	return client.CreateVolume(ctx, r)
}

// DeleteVolume implements tui.Volumes.
func (b backend) DeleteVolume(ctx context.Context, name string) error {
	client, err := b.a.client(ctx)
	if err != nil {
		return err
	}
	_, err = client.RemoveVolume(ctx, name)
	return err
}

// AttachVolume implements tui.Volumes.
func (b backend) AttachVolume(ctx context.Context, id string, v config.Volume) error {
	client, err := b.a.client(ctx)
	if err != nil {
		return err
	}
	_, err = client.AttachVolume(ctx, id, api.AttachVolumeRequest{Volume: v})
	return err
}

// DetachVolume implements tui.Volumes.
func (b backend) DetachVolume(ctx context.Context, id, target string) error {
	client, err := b.a.client(ctx)
	if err != nil {
		return err
	}
	_, err = client.DetachVolume(ctx, id, api.DetachVolumeRequest{Target: target})
	return err
}
