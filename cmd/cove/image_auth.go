package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"cove/config"
	"cove/runtime/api"
)

// registryAuth is what the caller's own docker configuration has for the registry
// of an image; nil where that is nothing. The daemon reads nobody's files.
func registryAuth(image string) (*api.RegistryAuth, error) {
	if image == config.HostImage {
		return nil, nil
	}
	if _, ok := config.SnapshotName(image); ok {
		return nil, nil
	}
	if _, _, file := config.ImageFile(image); file {
		return nil, nil
	}
	ref, err := name.ParseReference(image)
	if err != nil {
		return nil, nil //nolint:nilerr // the daemon says what is wrong with it
	}
	auth, err := authn.DefaultKeychain.Resolve(ref.Context())
	if err != nil {
		return nil, hint(fmt.Errorf("what you have for %s: %w", ref.Context().RegistryStr(), err), "see ~/.docker/config.json")
	}
	if auth == authn.Anonymous {
		return nil, nil
	}
	c, err := auth.Authorization()
	if err != nil {
		return nil, fmt.Errorf("what you have for %s: %w", ref.Context().RegistryStr(), err)
	}
	got := api.RegistryAuth{Username: c.Username, Password: c.Password, IdentityToken: c.IdentityToken, RegistryToken: c.RegistryToken}
	if got == (api.RegistryAuth{}) {
		return nil, nil
	}
	return &got, nil
}

// bringImage does what the caller has to for the image of a request: read a file
// of his, or what he has for a registry.
func (a *app) bringImage(ctx context.Context, req *api.CreateRequest) error {
	if _, path, file := config.ImageFile(req.Spec.Image); file {
		img, err := a.importImage(ctx, path, "")
		if err != nil {
			if errors.Is(err, context.Canceled) {
				return err
			}
			return explain(err, "")
		}
		req.ImageID = img.ID
		return nil
	}
	auth, err := registryAuth(req.Spec.Image)
	req.Auth = auth
	return err
}
