package oci

import (
	"fmt"

	"github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// syscallFilter is moby's default profile, cut to the machine's own
// architecture: each further one (32-bit x86, x32) costs some 10 ms at each
// start and adds system calls that are seldom tested.
func syscallFilter(spec *specs.Spec) (*specs.LinuxSeccomp, error) {
	filter, err := seccomp.GetDefaultProfile(spec)
	if err != nil {
		return nil, fmt.Errorf("seccomp profile: %w", err)
	}
	// Without an architecture the filter would be for none in particular.
	if filter == nil || len(filter.Architectures) == 0 {
		return nil, fmt.Errorf("%w: there is no seccomp profile for this architecture", ErrInput)
	}
	// The profile lists the native architecture first.
	filter.Architectures = filter.Architectures[:1]
	return filter, nil
}
