package config

import "slices"

// ResizeFlags lists those of [Flags] that also change a sandbox that is there:
// they mean the same, and have the same words for what is wrong.
func ResizeFlags() []Flag {
	return slices.DeleteFunc(Flags(), func(f Flag) bool {
		return !slices.Contains([]string{"cpu", "memory", "swap", "pids", "disk"}, f.Name)
	})
}

// Override is [Profile.Override] of a flag of [ResizeFlags], over limits alone.
func (r Resources) Override(flag string, values ...string) (Resources, error) {
	p := &Profile{Spec: Spec{Resources: r}, origins: origins{}}
	err := p.Override(flag, values...)
	return p.Spec.Resources, err
}
