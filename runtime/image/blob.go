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
	"path/filepath"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"golang.org/x/sys/unix"
)

const (
	// partialSuffix marks a blob of which not all has come. It is kept for whoever asks
	// for it again, for staleAfter at most.
	partialSuffix = ".partial"
	staleAfter    = 24 * time.Hour
	// attempts is how often in a row a blob is asked for without a byte coming;
	// between two of them the pause doubles, from firstPause on.
	attempts   = 5
	firstPause = 200 * time.Millisecond
	// stalled is for how long a registry may send nothing.
	stalled = time.Minute
)

// blob is one blob of a registry's.
type blob struct {
	url    string
	digest v1.Hash
	size   int64
	client *http.Client
	// came is told how many bytes have come, those that were there before among
	// them; a negative number takes back what was told.
	came func(n int64)
}

// fetch has the blob in dir, whole and with the right digest, and opens it. What a
// killed daemon left of it is not fetched again. The caller removes it when it is
// no longer needed. Nobody else may fetch the same at the same time.
func (b blob) fetch(ctx context.Context, dir string) (f *os.File, path string, err error) {
	if b.digest.Algorithm != "sha256" {
		return nil, "", fmt.Errorf("%w: a digest by %.20q", ErrHostile, b.digest.Algorithm)
	}
	path = filepath.Join(dir, b.digest.Hex+partialSuffix)
	f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, "", err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
		}
	}()
	sum := sha256.New()
	have, err := io.Copy(sum, f)
	if err != nil {
		return nil, "", fmt.Errorf("read %s: %w", path, err)
	}
	if have > b.size {
		if have, err = restart(f, sum); err != nil {
			return nil, "", err
		}
	}
	b.came(have)
	pause := firstPause
	for failed := 0; have < b.size; {
		n, err := b.part(ctx, f, sum, &have)
		switch {
		case ctx.Err() != nil:
			return nil, "", context.Cause(ctx)
		case err == nil && have == b.size:
			continue
		case err == nil:
			err = io.ErrUnexpectedEOF
		case !transient(err):
			return nil, "", err
		}
		if failed++; n > 0 {
			failed, pause = 0, firstPause
		}
		if failed == attempts {
			return nil, "", fmt.Errorf("%w: %w", ErrRegistry, err)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, "", context.Cause(ctx)
		}
		pause *= 2
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != b.digest.Hex {
		return nil, "", errors.Join(fmt.Errorf("%w: the layer %s came with the digest sha256:%.12s", ErrCorrupt, short(b.digest.String()), got), os.Remove(path))
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, "", err
	}
	return f, path, nil
}

// restart throws away what came of a blob.
func restart(f *os.File, sum hash.Hash) (have int64, err error) {
	sum.Reset()
	if err := f.Truncate(0); err != nil {
		return 0, err
	}
	_, err = f.Seek(0, io.SeekStart)
	return 0, err
}

// part asks once for what is missing, and tells how much of it came.
func (b blob) part(ctx context.Context, f *os.File, sum hash.Hash, have *int64) (n int64, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := time.AfterFunc(stalled, func() { cancel(fmt.Errorf("%w: nothing came for %v", errStalled, stalled)) })
	defer watch.Stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.url, nil)
	if err != nil {
		return 0, err
	}
	if *have > 0 {
		req.Header.Set("Range", "bytes="+strconv.FormatInt(*have, 10)+"-")
	}
	resp, err := b.client.Do(req)
	if err != nil {
		return 0, cmpCause(ctx, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if err := transport.CheckError(resp, http.StatusOK, http.StatusPartialContent, http.StatusRequestedRangeNotSatisfiable); err != nil {
		return 0, err
	}
	from, ok := rangeStart(resp)
	if !ok || from != *have {
		b.came(-*have)
		if *have, err = restart(f, sum); err != nil {
			return 0, err
		}
		if from != 0 || !ok {
			return 0, fmt.Errorf("%w: it sent another part than the one asked for", ErrRegistry)
		}
	}
	buf := make([]byte, 128<<10)
	for {
		m, err := resp.Body.Read(buf)
		watch.Reset(stalled)
		if int64(m) > b.size-*have {
			return n, fmt.Errorf("%w: the layer %s is larger than the %d bytes it is said to have", ErrCorrupt, short(b.digest.String()), b.size)
		}
		if m > 0 {
			if _, err := f.Write(buf[:m]); err != nil {
				return n, fmt.Errorf("keep what came: %w", err)
			}
			sum.Write(buf[:m])
			*have, n = *have+int64(m), n+int64(m)
			b.came(int64(m))
		}
		switch {
		case errors.Is(err, io.EOF):
			return n, nil
		case err != nil:
			return n, cmpCause(ctx, err)
		}
	}
}

// errStalled: the registry has stopped sending.
var errStalled = errors.New("the connection stands still")

// cmpCause is why a request failed, where its context says so.
func cmpCause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// rangeStart is the place in the blob at which the answer begins.
func rangeStart(resp *http.Response) (int64, bool) {
	switch resp.StatusCode {
	case http.StatusOK:
		return 0, true
	case http.StatusPartialContent:
		text, ok := strings.CutPrefix(resp.Header.Get("Content-Range"), "bytes ")
		start, _, dash := strings.Cut(text, "-")
		from, err := strconv.ParseInt(start, 10, 64)
		return from, ok && dash && err == nil
	}
	return 0, false
}

// transient tells whether it may work when it is tried again.
func transient(err error) bool {
	var refused *transport.Error
	if errors.As(err, &refused) {
		return refused.StatusCode == http.StatusTooManyRequests || refused.StatusCode >= 500
	}
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || errors.Is(err, errStalled) ||
		errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.EPIPE)
}
