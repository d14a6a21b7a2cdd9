package volume

import (
	"slices"

	"cove/config"
)

// access is who the sandbox is in one directory: its user has the id uid and
// the group gid on disk. Where that is not the owner's primary group, files of
// primary keep an id too, so that the owner can write to them; it is no group of
// the sandbox's user. The owner's further groups are nobody's inside: some are as
// good as root (docker, disk), and a setgid program of theirs, left in the
// directory, would be for anybody to run.
type access struct {
	uid, gid, primary uint32
	readOnly          bool
}

// grant decides what a sandbox of caller's may do in a directory. It never
// gives more than caller has: a user's sandbox is that user there. For root it
// is the directory's owner, of whom the machine knows what lookup says.
func grant(caller account, dir look, mode string, lookup func(uid uint32) (account, bool)) (access, error) {
	// Below an overlay nothing is written to it.
	a := access{readOnly: mode == config.MountRO || mode == config.MountCOW}
	switch mode {
	case config.MountRO, config.MountRW, config.MountRWAsRoot, config.MountCOW:
	default:
		return access{}, refuse("", "there is no mode %q", mode)
	}
	if dir.readOnly && !a.readOnly {
		return access{}, refuse("mount it ro", "it is on a file system that this machine has mounted read-only")
	}
	if caller.uid != 0 {
		return a.user(caller, dir, mode)
	}
	switch {
	case mode == config.MountRW && dir.uid == 0:
		return access{}, refuse("mode rw-as-root, if root's files are to be the sandbox's", "it belongs to root: what the sandbox writes would be root's")
	case mode == config.MountRWAsRoot && dir.uid != 0:
		return access{}, refuse("mount it rw", "it belongs to uid %d, not to root", dir.uid)
	}
	a.uid, a.gid, a.primary = dir.uid, dir.gid, dir.gid
	if owner, ok := lookup(dir.uid); ok && dir.uid != 0 {
		a.primary = owner.gids[0]
	}
	return a, nil
}

// user is grant for a caller who is not root.
func (a access) user(caller account, dir look, mode string) (access, error) {
	member := slices.Contains(caller.gids, dir.gid)
	cow := mode == config.MountCOW
	switch {
	case mode == config.MountRWAsRoot:
		return access{}, refuse("mount it rw", "only root may mount rw-as-root")
	case cow && dir.uid != caller.uid:
		// Copied into the overlay it would have to belong to somebody.
		return access{}, refuse("mount it ro, or a copy of it", "it belongs to uid %d and you are uid %d: a sandbox cannot change what is not yours", dir.uid, caller.uid)
	case !a.readOnly && dir.uid != caller.uid:
		return access{}, refuse("mount it ro", "it belongs to uid %d and you are uid %d: only its owner may let a sandbox write to it", dir.uid, caller.uid)
	case (cow || !a.readOnly) && !member:
		// The kernel lets nobody write to what has an owner or group that
		// the mount does not know.
		return access{}, refuse("chgrp it to a group of yours, or mount it ro", "it belongs to group %d, which is none of yours", dir.gid)
	}
	a.uid, a.gid, a.primary = caller.uid, caller.gids[0], caller.gids[0]
	if member {
		a.gid = dir.gid
	}
	return a, nil
}
