package config

import (
	"errors"
	"fmt"
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
