package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"golang.org/x/sync/errgroup"

	"cove/config"
)

const (
	// parallel is how many layers come side by side.
	parallel = 4
	// maxLayers is fewer than an overlay can have below a few snapshots.
	maxLayers = 256
)

// Request says which image is wanted.
type Request struct {
	Ref string
	// Platform is "os/arch[/variant]"; empty is this machine's.
	Platform string
	// Auth is what the caller has for the registry; nil is nothing.
	Auth *Auth
	// Admit, if not nil, is asked while something is unpacked whether there is
	// room; its error ends the pull.
	Admit func() error
}

// Auth is what a caller has for a registry. It is kept in memory alone.
type Auth struct{ Username, Password, IdentityToken, RegistryToken string }

// parse reads a reference. Only a registry on this machine is spoken to without
// TLS.
func parse(ref string) (name.Reference, error) {
	r, err := name.ParseReference(ref)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrReference, err)
	}
	if isLocal(r.Context().RegistryStr()) {
		return name.ParseReference(ref, name.Insecure)
	}
	return r, nil
}

// isLocal tells whether a host, with or without a port, is this machine.
func isLocal(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Canonical is a reference in full: with its registry, and its tag or digest.
func Canonical(ref string) (string, error) {
	r, err := parse(ref)
	if err != nil {
		return "", err
	}
	return strings.Replace(r.Name(), name.DefaultRegistry+"/", "docker.io/", 1), nil
}

// Registry is the registry that ref is of, as a docker configuration names it.
func Registry(ref string) (string, error) {
	r, err := parse(ref)
	if err != nil {
		return "", err
	}
	return r.Context().RegistryStr(), nil
}

func platformOf(text string) (v1.Platform, error) {
	if text == "" {
		return v1.Platform{OS: "linux", Architecture: thisArch}, nil
	}
	p, err := v1.ParsePlatform(text)
	if err != nil || p.OS == "" || p.Architecture == "" {
		return v1.Platform{}, fmt.Errorf("%w: %q is no platform, which is like linux/amd64", ErrReference, text)
	}
	if p.OS != "linux" || p.Architecture != thisArch {
		return v1.Platform{}, fmt.Errorf("%w: %s, and this is linux/%s", ErrPlatform, text, thisArch)
	}
	return *p, nil
}

// Pull gets an image from its registry, whatever is here by that name, for the
// user. Layers that are here do not come again, and those that somebody else pulls
// come once. progress, if not nil, is called by one goroutine at a time. The
// image's layers are pinned until release, which the caller calls.
func (s *Store) Pull(ctx context.Context, owner int, r Request, progress func(Progress)) (img Image, release func(), err error) {
	ref, err := parse(r.Ref)
	if err != nil {
		return Image{}, nil, err
	}
	platform, err := platformOf(r.Platform)
	if err != nil {
		return Image{}, nil, err
	}
	auth := authn.Anonymous
	if a := r.Auth; a != nil {
		auth = authn.FromConfig(authn.AuthConfig{Username: a.Username, Password: a.Password, IdentityToken: a.IdentityToken, RegistryToken: a.RegistryToken})
	}
	defer func() { err = registryError(ctx, err) }()
	desc, err := remote.Get(ref, remote.WithContext(ctx), remote.WithAuth(auth), remote.WithPlatform(platform), remote.WithTransport(s.transport), remote.WithUserAgent(userAgent))
	if err != nil {
		return Image{}, nil, err
	}
	source, err := desc.Image()
	if err != nil {
		return Image{}, nil, err
	}
	d, err := describe(source)
	if err != nil {
		return Image{}, nil, err
	}
	rt, err := transport.NewWithContext(ctx, ref.Context().Registry, auth, s.transport, []string{ref.Scope(transport.PullScope)})
	if err != nil {
		return Image{}, nil, err
	}
	t := newTally(progress)
	release, err = s.layersOf(ctx, d, t, func(ctx context.Context, i int, root *os.File) error {
		l := d.manifest.Layers[i]
		if len(l.URLs) > 0 {
			return fmt.Errorf("%w: the layer %s is not in the registry", ErrHostile, short(l.Digest.String()))
		}
		b := blob{
			url: fmt.Sprintf("%s://%s/v2/%s/blobs/%s", ref.Context().Scheme(), ref.Context().RegistryStr(), ref.Context().RepositoryStr(), l.Digest), digest: l.Digest, size: l.Size,
			client: &http.Client{Transport: rt}, came: t.add,
		}
		f, path, err := b.fetch(ctx, s.blobs)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		if err := s.unpackBlob(ctx, f, d.config.RootFS.DiffIDs[i], root, r.Admit); err != nil {
			if errors.Is(err, ErrCorrupt) || errors.Is(err, ErrHostile) || errors.Is(err, ErrTooLarge) {
				err = errors.Join(err, os.Remove(path))
			}
			return err
		}
		return os.Remove(path)
	})
	if err != nil {
		return Image{}, nil, err
	}
	canonical, err := Canonical(r.Ref)
	if err == nil {
		img = d.image(owner, canonical, s.now())
		img.Digest = d.digest.String()
		err = s.record(img)
	}
	if err != nil {
		release()
		return Image{}, nil, err
	}
	return img, release, nil
}

const userAgent = "cove"

// registryError makes of what a registry said what a person can use.
func registryError(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	for _, known := range []error{ErrReference, ErrRegistry, ErrCorrupt, ErrHostile, ErrTooLarge, ErrPlatform} {
		if errors.Is(err, known) {
			return err
		}
	}
	var refused *transport.Error
	if !errors.As(err, &refused) {
		var network net.Error
		if errors.As(err, &network) || errors.Is(err, io.EOF) {
			return fmt.Errorf("%w does not answer: %w", ErrRegistry, err)
		}
		return err
	}
	says := make([]string, 0, len(refused.Errors))
	for _, d := range refused.Errors {
		text := d.Message
		if text == "" {
			text = string(d.Code)
		}
		says = append(says, text)
	}
	if len(says) == 0 {
		says = append(says, http.StatusText(refused.StatusCode))
	}
	return fmt.Errorf("%w says: %s (status %d)", ErrRegistry, strings.Join(says, "; "), refused.StatusCode)
}

// description is what an image says of itself, proved by its digests.
type description struct {
	digest   v1.Hash // of the manifest
	id       v1.Hash // of the config
	manifest *v1.Manifest
	config   *v1.ConfigFile
}

func describe(source v1.Image) (d description, err error) {
	if d.manifest, err = source.Manifest(); err != nil {
		return d, err
	}
	if d.config, err = source.ConfigFile(); err != nil {
		return d, err
	}
	if d.digest, err = source.Digest(); err != nil {
		return d, err
	}
	raw, err := source.RawConfigFile()
	if err != nil {
		return d, err
	}
	d.id = digestOf(raw)
	if d.id != d.manifest.Config.Digest {
		return d, fmt.Errorf("%w: its config has the digest %s, its manifest says %s", ErrCorrupt, short(d.id.String()), short(d.manifest.Config.Digest.String()))
	}
	n := len(d.manifest.Layers)
	switch {
	case n == 0 || n != len(d.config.RootFS.DiffIDs):
		return d, fmt.Errorf("%w: its manifest has %d layers and its config %d", ErrHostile, n, len(d.config.RootFS.DiffIDs))
	case n > maxLayers:
		return d, fmt.Errorf("%w: %d layers, at most %d are possible", ErrTooLarge, n, maxLayers)
	case d.config.OS != "" && d.config.OS != "linux", d.config.Architecture != "" && d.config.Architecture != thisArch:
		return d, fmt.Errorf("%w: it is for %s/%s, and this is linux/%s", ErrPlatform, d.config.OS, d.config.Architecture, thisArch)
	}
	for _, id := range d.config.RootFS.DiffIDs {
		if id.Algorithm != "sha256" {
			return d, fmt.Errorf("%w: a layer by %.20q", ErrHostile, id.Algorithm)
		}
	}
	return d, nil
}

func (d description) image(owner int, ref string, now time.Time) Image {
	img := Image{
		ID: d.id.String(), Ref: ref, Platform: "linux/" + thisArch, Owner: owner,
		Created: d.config.Created.UTC(), Pulled: now.UTC(), Config: ConfigOf(d.config.Config),
	}
	for _, id := range d.config.RootFS.DiffIDs {
		img.Layers = append(img.Layers, layerName(id.Algorithm, id.Hex))
	}
	return img
}

// ConfigOf is what of an image's config concerns a sandbox.
func ConfigOf(c v1.Config) config.ImageConfig {
	out := config.ImageConfig{
		User: c.User, Workdir: c.WorkingDir, Entrypoint: c.Entrypoint, Cmd: c.Cmd, Shell: c.Shell, Labels: c.Labels, StopSignal: c.StopSignal,
	}
	for _, kv := range c.Env {
		key, _, ok := strings.Cut(kv, "=")
		if !ok || key == "" || strings.IndexByte(kv, 0) >= 0 {
			continue
		}
		out.Env = append(slices.DeleteFunc(out.Env, func(had string) bool { return strings.HasPrefix(had, key+"=") }), kv)
	}
	for p := range c.ExposedPorts {
		out.ExposedPorts = append(out.ExposedPorts, p)
	}
	slices.Sort(out.ExposedPorts)
	return out
}

// layersOf has all layers of an image in the store, and pins them.
func (s *Store) layersOf(ctx context.Context, d description, t *tally, fill func(ctx context.Context, i int, root *os.File) error) (func(), error) {
	ids := d.config.RootFS.DiffIDs
	releases := make([]func(), len(ids))
	release := sync.OnceFunc(func() {
		for _, f := range releases {
			if f != nil {
				f()
			}
		}
	})
	first := map[v1.Hash]bool{}
	for i, id := range ids {
		if !first[id] && !s.layers.Has(layerName(id.Algorithm, id.Hex)) {
			t.expect(d.manifest.Layers[i].Size)
		}
		first[id] = true
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for i, id := range ids {
		g.Go(func() (err error) {
			releases[i], err = s.layers.Make(gctx, layerName(id.Algorithm, id.Hex), func(ctx context.Context, root *os.File) error { return fill(ctx, i, root) })
			return err
		})
	}
	if err := g.Wait(); err != nil {
		release()
		return nil, err
	}
	return release, nil
}

// unpackBlob makes the files of a layer beneath root, and proves that they are
// those of the config.
func (s *Store) unpackBlob(ctx context.Context, r io.Reader, id v1.Hash, root *os.File, admit func() error) error {
	z, err := decompress(r)
	if err != nil {
		return err
	}
	defer func() { _ = z.Close() }()
	sum := sha256.New()
	plain := &hashed{r: z, sum: sum}
	if err := unpack(ctx, root, plain, s.limits, admit); err != nil {
		return err
	}
	// What comes behind the tar's end is part of the digest.
	if n, err := io.Copy(io.Discard, io.LimitReader(plain, 64<<20)); err != nil {
		return corrupt(err)
	} else if n == 64<<20 {
		return fmt.Errorf("%w: a layer that goes on after its end", ErrHostile)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != id.Hex {
		return fmt.Errorf("%w: a layer's contents have the digest sha256:%.12s, its config says %s", ErrCorrupt, got, short(id.String()))
	}
	return nil
}

type hashed struct {
	r   io.Reader
	sum hash.Hash
}

func (h *hashed) Read(p []byte) (int, error) {
	n, err := h.r.Read(p)
	h.sum.Write(p[:n])
	return n, err
}

// tally counts what comes, for progress.
type tally struct {
	tell func(Progress)
	mu   sync.Mutex
	p    Progress
	told time.Time
}

// tellEvery is how often progress is told.
const tellEvery = 100 * time.Millisecond

func newTally(tell func(Progress)) *tally { return &tally{tell: tell} }

func (t *tally) expect(n int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.p.Layers++
	t.p.Total += n
}

func (t *tally) add(n int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.p.Done += n
	t.p.Unpacking = t.p.Done >= t.p.Total
	if now := time.Now(); t.tell != nil && (now.Sub(t.told) >= tellEvery || t.p.Unpacking) {
		t.told = now
		t.tell(t.p)
	}
}
