package sandbox

import (
	"fmt"
	"strings"

	"cove/config"
)

// gitConfig is the sandbox's /etc/gitconfig, "" for none. The system's file is the
// weakest there is (git-config(1), FILES): what a user or a repository inside
// says goes before it, root has it as well as dev, and "git config --global"
// writes elsewhere. It is written once, when the sandbox is made: from then on
// it is the sandbox's own.
//
// A directory of the host's that is mounted may hold files of several owners,
// which git takes for a trap laid by another user (CVE-2022-24765). Inside there
// is only one person, and so mounts are declared safe.
func gitConfig(s config.Spec) string {
	var b strings.Builder
	if s.Git.Name != "" || s.Git.Email != "" {
		b.WriteString("[user]\n")
		if s.Git.Name != "" {
			fmt.Fprintf(&b, "\tname = %s\n", gitString(s.Git.Name))
		}
		if s.Git.Email != "" {
			fmt.Fprintf(&b, "\temail = %s\n", gitString(s.Git.Email))
		}
	}
	if targets := s.Targets(); len(targets) > 0 {
		b.WriteString("[safe]\n")
		for _, t := range targets {
			// Repositories below it are known to git since 2.46; older
			// ones take the pattern for a name that nothing has.
			fmt.Fprintf(&b, "\tdirectory = %s\n\tdirectory = %s\n", gitString(t), gitString(strings.TrimSuffix(t, "/")+"/*"))
		}
	}
	return b.String()
}

// gitString quotes a value for a configuration file (git-config(1), SYNTAX).
func gitString(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\t", `\t`, "\b", `\b`).Replace(s) + `"`
}
