package image

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"cove/runtime/rootfs"
)

func TestImportOfWhatIsHostile(t *testing.T) {
	state, run := t.TempDir(), t.TempDir()
	layers, err := rootfs.OpenLayers(t.Context(), state, run)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(Options{StateDir: state, Layers: layers})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	_ = w.WriteHeader(&tar.Header{Name: "x", Typeflag: tar.TypeLink, Linkname: "/etc/shadow"})
	_ = w.Close()
	img, err := mutate.AppendLayers(empty.Image, static.NewLayer(b.Bytes(), types.DockerUncompressedLayer))
	if err != nil {
		t.Fatal(err)
	}
	cf, _ := img.ConfigFile()
	cf = cf.DeepCopy()
	cf.OS, cf.Architecture = "linux", thisArch
	if img, err = mutate.ConfigFile(img, cf); err != nil {
		t.Fatal(err)
	}
	var saved bytes.Buffer
	tag, _ := name.NewTag("a:b")
	if err := tarball.Write(tag, img, &saved); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Import(context.Background(), 0, ImportRequest{Tar: &saved}); !errors.Is(err, ErrHostile) {
		t.Errorf("%v", err)
	}
}
