package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote"

	"cove/config"
	"cove/runtime/store"
)

const maxRecord = 4 << 20

// Layers is the store of layers, package rootfs's.
type Layers interface {
	Has(name string) bool
	Path(name string) string
	Make(ctx context.Context, name string, build func(ctx context.Context, root *os.File) error) (release func(), err error)
	Pin(names ...string) (release func(), err error)
}

// Options of a [Store].
type Options struct {
	// StateDir is the daemon's state directory, which must exist.
	StateDir string
	Layers   Layers
	// Limits are of one layer; zero is [DefaultLimits].
	Limits Limits
}

// Store is the images of one instance. All methods may be called by any goroutine.
type Store struct {
	dir, blobs string
	layers     Layers
	limits     Limits
	now        func() time.Time
	transport  http.RoundTripper

	mu     sync.Mutex
	images map[key]Image
}

// key is what an image is found by.
type key struct {
	owner int
	ref   string
}

// Open opens the images in the state directory. Records that it cannot read are
// left alone.
func Open(o Options) (*Store, error) {
	s := &Store{
		dir: filepath.Join(o.StateDir, "images"), layers: o.Layers, limits: o.Limits, now: time.Now, images: map[key]Image{},
	}
	s.blobs = filepath.Join(s.dir, "blobs")
	if s.limits == (Limits{}) {
		s.limits = DefaultLimits()
	}
	base, ok := remote.DefaultTransport.(*http.Transport)
	if !ok {
		base = &http.Transport{}
	}
	s.transport = private{base.Clone()}
	if err := os.MkdirAll(s.blobs, 0o700); err != nil {
		return nil, fmt.Errorf("open the images: %w", err)
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("open the images: %w", err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".json") {
			continue
		}
		var img Image
		if err := store.ReadJSON(filepath.Join(s.dir, e.Name()), maxRecord, &img); err != nil || recordName(img) != e.Name() {
			continue
		}
		s.images[key{img.Owner, img.Ref}] = img
	}
	return s, s.tidy(staleAfter)
}

// Close ends connections that wait for the next request.
func (s *Store) Close() error {
	(&http.Client{Transport: s.transport}).CloseIdleConnections()
	return nil
}

// tidy removes what came of blobs and was not asked for again.
func (s *Store) tidy(after time.Duration) error {
	entries, err := os.ReadDir(s.blobs)
	if err != nil {
		return fmt.Errorf("tidy the images: %w", err)
	}
	var errs []error
	for _, e := range entries {
		st, err := e.Info()
		if err != nil || s.now().Sub(st.ModTime()) < after {
			continue
		}
		if err := os.Remove(filepath.Join(s.blobs, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func recordName(img Image) string {
	sum := sha256.Sum256([]byte(img.Ref))
	return strconv.Itoa(img.Owner) + "-" + hex.EncodeToString(sum[:16]) + ".json"
}

// record keeps an image; another of the same name is nobody's then.
func (s *Store) record(img Image) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	data, err := json.MarshalIndent(img, "", "  ")
	if err != nil {
		return fmt.Errorf("keep the image: %w", err)
	}
	if err := store.Replace(s.dir, recordName(img), append(data, '\n'), true); err != nil {
		return fmt.Errorf("keep the image: %w", err)
	}
	s.images[key{img.Owner, img.Ref}] = img
	return nil
}

// Ensure gives the user's image of that name, pulled where he has none. The image's
// layers are pinned until release, which the caller calls.
func (s *Store) Ensure(ctx context.Context, owner int, r Request, progress func(Progress)) (Image, func(), error) {
	canonical, err := Canonical(r.Ref)
	if err != nil {
		return Image{}, nil, err
	}
	if img, release, err := s.Take(owner, canonical); err == nil {
		return img, release, nil
	}
	return s.Pull(ctx, owner, r, progress)
}

// Take gives an image that the user has, by its name, its id or the beginning of
// it, with its layers pinned. [ErrNotFound].
func (s *Store) Take(owner int, ref string) (Image, func(), error) {
	img, err := s.Find(owner, ref)
	if err != nil {
		return Image{}, nil, err
	}
	release, err := s.layers.Pin(img.Layers...)
	if err != nil {
		return Image{}, nil, fmt.Errorf("%w: %s has lost a layer: %w", ErrNotFound, ref, err)
	}
	return img, release, nil
}

// Find is Take without pinning. Root finds everybody's, its own first.
func (s *Store) Find(owner int, ref string) (Image, error) {
	canonical, err := Canonical(ref)
	if err != nil {
		canonical = ref
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if img, ok := s.images[key{owner, canonical}]; ok {
		return img, nil
	}
	var found []Image
	for k, img := range s.images {
		hex := strings.TrimPrefix(img.ID, "sha256:")
		want := strings.TrimPrefix(ref, "sha256:")
		if (k.owner == owner || owner == 0) && (k.ref == canonical || len(want) >= 6 && strings.HasPrefix(hex, want)) {
			found = append(found, img)
		}
	}
	if len(found) == 0 {
		return Image{}, fmt.Errorf("%w: %s", ErrNotFound, ref)
	}
	slices.SortFunc(found, func(a, b Image) int { return b.Pulled.Compare(a.Pulled) })
	for _, img := range found[1:] {
		if img.ID != found[0].ID {
			return Image{}, fmt.Errorf("%w: %s is the beginning of several", ErrNotFound, ref)
		}
	}
	return found[0], nil
}

// List gives the user's images by name; root's are all.
func (s *Store) List(owner int) []Image {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []Image
	for _, img := range s.images {
		if img.Owner == owner || owner == 0 {
			list = append(list, img)
		}
	}
	slices.SortFunc(list, func(a, b Image) int {
		if c := strings.Compare(a.Ref, b.Ref); c != 0 {
			return c
		}
		return a.Owner - b.Owner
	})
	return list
}

// Remove takes an image from its owner; its layers go when nobody uses them.
func (s *Store) Remove(img Image) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := os.Remove(filepath.Join(s.dir, recordName(img))); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the image: %w", err)
	}
	delete(s.images, key{img.Owner, img.Ref})
	return store.SyncDir(s.dir)
}

// Layers are those that some image has, for the collection of the others.
func (s *Store) Layers() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for _, img := range s.images {
		names = append(names, img.Layers...)
	}
	return names
}

// Tidy removes what is kept of pulls that were broken off.
func (s *Store) Tidy() error { return s.tidy(0) }

// private speaks without TLS to this machine alone, wherever a registry leads.
type private struct{ *http.Transport }

// RoundTrip implements http.RoundTripper.
func (p private) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" && !isLocal(r.URL.Host) {
		return nil, fmt.Errorf("%w: %s would be spoken to without TLS, which only a registry on this machine may be", ErrRegistry, r.URL.Host)
	}
	return p.Transport.RoundTrip(r)
}

// fileRef is what an image is called that has no name of its own.
func fileRef(id string) string { return config.OCIPrefix + short(id) }
