package config

import (
	"errors"
	"fmt"
	"strings"
)

// MaxName is the longest name of a sandbox or volume, in bytes.
const MaxName = 48

// ValidName says why name cannot be the name of a sandbox, or nil. A name is a
// label of a host name (RFC 1123), since it becomes one: lower-case letters,
// digits and inner hyphens, at most [MaxName] of them.
func ValidName(name string) error {
	switch {
	case name == "":
		return errors.New("the name is empty")
	case len(name) > MaxName:
		return fmt.Errorf("the name %s is %d bytes long: at most %d", quote(name), len(name), MaxName)
	case !onlyNameBytes(name):
		return fmt.Errorf("the name %s may only have a-z, 0-9 and hyphens", quote(name))
	case len(name) == 12 && strings.Trim(name, "0123456789abcdef") == "":
		return fmt.Errorf("the name %s looks like a sandbox's id", quote(name))
	case name[0] == '-' || name[len(name)-1] == '-':
		return fmt.Errorf("the name %s may not begin or end with a hyphen", quote(name))
	}
	return nil
}

func onlyNameBytes(name string) bool {
	for i := range len(name) {
		c := name[i]
		if !lower(c) && !digit(c) && c != '-' {
			return false
		}
	}
	return true
}

func lower(c byte) bool  { return c >= 'a' && c <= 'z' }
func digit(c byte) bool  { return c >= '0' && c <= '9' }
func letter(c byte) bool { return lower(c) || (c >= 'A' && c <= 'Z') }

// ValidID tells whether id can be a container's: what runc allows, less the
// names that begin with a dot or a dash, which would be hidden files or options.
func ValidID(id string) bool {
	if id == "" || len(id) > 128 {
		return false
	}
	for i := range len(id) {
		if c := id[i]; !letter(c) && !digit(c) && c != '_' && (i == 0 || !strings.ContainsRune(".+-", rune(c))) {
			return false
		}
	}
	return true
}

// ValidHostname tells whether name can be a sandbox's host name: labels of
// letters, digits and inner hyphens, joined by dots (RFC 1123, section 2.1), and
// at most HOST_NAME_MAX of linux/limits.h without its final zero byte.
func ValidHostname(name string) bool {
	if len(name) > 64 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			if c := label[i]; !letter(c) && !digit(c) && c != '-' {
				return false
			}
		}
	}
	return true
}
