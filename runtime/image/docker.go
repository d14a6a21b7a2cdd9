package image

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"runtime"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sys/unix"
)

// thisArch is this machine's architecture, in the words of images.
const thisArch = runtime.GOARCH

// dockerImage is the image that d describes, of the files of a docker archive that
// lie in dir.
func dockerImage(dir string, d tarball.Descriptor) (v1.Image, error) {
	raw, err := readSpooled(dir, d.Config)
	if err != nil {
		return nil, err
	}
	img, err := partial.UncompressedToImage(spooledImage{dir: dir, d: d, raw: raw})
	if err != nil {
		return nil, corrupt(err)
	}
	return img, nil
}

func readSpooled(dir, name string) ([]byte, error) {
	f, err := openSpooled(dir, name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return io.ReadAll(io.LimitReader(f, maxManifest))
}

func openSpooled(dir, name string) (*os.File, error) {
	f, err := os.OpenFile(spooled(dir, name), os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: it has no %.100q", ErrCorrupt, name)
	}
	return f, nil
}

// spooledImage is an image by the files of a docker archive.
type spooledImage struct {
	dir string
	d   tarball.Descriptor
	raw []byte
}

// RawConfigFile implements partial.UncompressedImageCore.
func (s spooledImage) RawConfigFile() ([]byte, error) { return s.raw, nil }

// MediaType implements partial.UncompressedImageCore.
func (s spooledImage) MediaType() (types.MediaType, error) { return types.DockerManifestSchema2, nil }

// LayerByDiffID implements partial.UncompressedImageCore.
func (s spooledImage) LayerByDiffID(id v1.Hash) (partial.UncompressedLayer, error) {
	config, err := partial.ConfigFile(s)
	if err != nil {
		return nil, err
	}
	for i, have := range config.RootFS.DiffIDs {
		if have == id && i < len(s.d.Layers) {
			return spooledLayer{dir: s.dir, name: s.d.Layers[i], id: id}, nil
		}
	}
	return nil, fmt.Errorf("%w: it has no layer %s", ErrCorrupt, short(id.String()))
}

// spooledLayer is a layer by its file.
type spooledLayer struct {
	dir, name string
	id        v1.Hash
}

// DiffID implements partial.UncompressedLayer.
func (l spooledLayer) DiffID() (v1.Hash, error) { return l.id, nil }

// MediaType implements partial.UncompressedLayer.
func (l spooledLayer) MediaType() (types.MediaType, error) { return types.DockerLayer, nil }

// Uncompressed implements partial.UncompressedLayer; what is in it is proved when
// it is unpacked.
func (l spooledLayer) Uncompressed() (io.ReadCloser, error) {
	f, err := openSpooled(l.dir, l.name)
	if err != nil {
		return nil, err
	}
	z, err := decompress(f)
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return both{z, f}, nil
}

// both reads the one and closes both.
type both struct {
	io.ReadCloser
	under io.Closer
}

func (b both) Close() error {
	err := b.ReadCloser.Close()
	if e := b.under.Close(); err == nil {
		err = e
	}
	return err
}

// digestOf is the digest of data.
func digestOf(data []byte) v1.Hash {
	sum := sha256.Sum256(data)
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}
}
