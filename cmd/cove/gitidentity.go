package main

import (
	"bytes"
	"context"
	"os/exec"
	"strings"
	"time"

	"cove/config"
)

// gitPatience bounds the question to git, which answers in a millisecond or two.
const gitPatience = 2 * time.Second

// withIdentity fills in whose commits those of a new sandbox are: what git itself
// would take here, as the caller, from the caller's configuration and that of the
// directory. Where there is no git, or it knows nobody, nothing is filled in.
// "git config" only reads files: it runs nothing that a stranger's clone names.
func withIdentity(ctx context.Context, spec config.Spec) config.Spec {
	if !spec.Git.Identity || spec.Git.Name != "" && spec.Git.Email != "" {
		return spec
	}
	ctx, cancel := context.WithTimeout(ctx, gitPatience)
	defer cancel()
	out, err := exec.CommandContext(ctx, "git", "config", "-z", "--get-regexp", `^user\.(name|email)$`).Output()
	if err != nil {
		return spec
	}
	found := spec
	for entry := range bytes.SplitSeq(out, []byte{0}) {
		key, value, _ := strings.Cut(string(entry), "\n")
		// The last of a key is the one that counts.
		switch {
		case key == "user.name" && spec.Git.Name == "":
			found.Git.Name = strings.TrimSpace(value)
		case key == "user.email" && spec.Git.Email == "":
			found.Git.Email = strings.TrimSpace(value)
		}
	}
	for _, p := range found.Validate() {
		if strings.HasPrefix(p.Key, "git.") {
			return spec // git takes more than a line of a table shows
		}
	}
	return found
}
