// Package assets holds the files that are part of the program: the built-in
// profiles. (The systemd unit lies here too; make install puts it in place.) It
// imports nothing of cove; cmd hands its files to the packages that read them.
package assets

import (
	"embed"
	"io/fs"
)

//go:embed profiles/*.toml
var profiles embed.FS

// Profiles is the built-in profiles, each as NAME.toml at the top.
func Profiles() fs.FS {
	sub, err := fs.Sub(profiles, "profiles")
	if err != nil {
		// fs.Sub refuses only a path that is no valid one.
		panic(err)
	}
	return sub
}
