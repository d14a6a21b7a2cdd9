package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// instKind begins the names of the files that say whose an instance is; no
// leases are of this kind.
const instKind = "inst"

// registration is such a file.
type registration struct {
	StateDir string `json:"state_dir"`
	Dev      uint64 `json:"dev"`
	Ino      uint64 `json:"ino"`
	Boot     string `json:"boot"`
}

// Instance gives the six hex digits that stand for a state directory in
// everything global: made of its device and inode, kept in it, and the same at
// each call. No two directories of a machine have the same in one boot: where
// the digits are another's already (a copied directory brings its own along),
// the next ones that are free are taken, while nothing of this directory can
// run under the old ones.
//
// stateDir is locked by the caller; leaseDir is [LeaseDir] but in tests; boot
// is the machine's boot id.
func Instance(ctx context.Context, stateDir, leaseDir, boot string) (string, error) {
	inst, err := instance(ctx, stateDir, leaseDir, boot)
	if err != nil {
		return "", fmt.Errorf("find out the instance of %s: %w", stateDir, err)
	}
	return inst, nil
}

func instance(ctx context.Context, stateDir, leaseDir, boot string) (string, error) {
	var st unix.Stat_t
	if err := restart(func() error { return unix.Stat(stateDir, &st) }); err != nil {
		return "", err
	}
	me := registration{StateDir: stateDir, Dev: st.Dev, Ino: st.Ino, Boot: boot}
	kept, err := keptInstance(stateDir)
	if err != nil {
		return "", err
	}
	dir, err := openOwned(leaseDir, 0o755)
	if err != nil {
		return "", err
	}
	defer dir.Close() // unlocks
	ctx, cancel := context.WithTimeout(ctx, lockTimeout)
	defer cancel()
	if err := flock(ctx, dir); err != nil {
		return "", err
	}
	if err := forgetInstances(dir, boot); err != nil {
		return "", err
	}
	inst, err := freeInstance(dir, me, kept)
	if err != nil {
		return "", err
	}
	data, err := json.Marshal(me)
	if err != nil {
		return "", err
	}
	// Registered first: what is kept in the state directory is then always its own.
	if err := ReplaceAt(dir, instKind+"-"+inst, append(data, '\n'), false); err != nil {
		return "", err
	}
	if inst == kept {
		return inst, nil
	}
	return inst, Replace(stateDir, instFile, []byte(inst+"\n"), true)
}

// keptInstance is what the state directory holds, or "".
func keptInstance(stateDir string) (string, error) {
	data, err := ReadFile(stateDir+"/"+instFile, maxSmall)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	if inst := strings.TrimSpace(string(data)); validInst(inst) {
		return inst, nil
	}
	return "", nil
}

// freeInstance takes what was kept, else the first candidate that is not
// another directory's.
func freeInstance(dir *os.File, me registration, kept string) (string, error) {
	candidate := kept
	for attempt := 0; attempt < 1<<16; attempt++ {
		if candidate != "" {
			r, err := readRegistration(dir, instKind+"-"+candidate)
			if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, ErrCorrupt) {
				return "", err
			}
			if err != nil || r.Boot != me.Boot || r.Dev == me.Dev && r.Ino == me.Ino {
				return candidate, nil
			}
		}
		sum := sha256.Sum256(fmt.Appendf(nil, "%d:%d:%d", me.Dev, me.Ino, attempt))
		candidate = hex.EncodeToString(sum[:3])
	}
	return "", ErrExhausted
}

func readRegistration(dir *os.File, name string) (registration, error) {
	var r registration
	data, err := readAt(dir, name, maxSmall)
	if err != nil {
		return r, err
	}
	return r, decode(name, data, &r)
}

// forgetInstances removes the registrations of directories that are gone and
// have no lease: nothing can run under their digits. The directory is locked.
func forgetInstances(dir *os.File, boot string) error {
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	leased := map[string]bool{}
	for _, name := range names {
		kind, _, ok := strings.Cut(name, "-")
		if !ok || kind == instKind || strings.HasPrefix(name, ".") {
			continue
		}
		var lease Lease
		data, err := readAt(dir, name, maxSmall)
		if err == nil && decode(name, data, &lease) == nil && lease.Boot == boot {
			leased[lease.Inst] = true
		}
	}
	for _, name := range names {
		inst, ok := strings.CutPrefix(name, instKind+"-")
		if !ok || leased[inst] {
			continue
		}
		r, err := readRegistration(dir, name)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err == nil && (r.Boot != boot || !exists(r.StateDir)) {
			if err := unlinkAt(dir, name); err != nil {
				return err
			}
		}
	}
	return nil
}
