package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"cove/assets"
	"cove/config"
)

// specFlags are the flags that say what sandbox to make: create and run have
// the same.
type specFlags struct {
	profile string
	name    string
	over    []*override
}

// override collects what one flag over the profile was given.
type override struct {
	flag   config.Flag
	values []string
}

// String, Set and Type make an override a pflag.Value.
func (o *override) String() string     { return strings.Join(o.values, ",") }
func (o *override) Set(v string) error { o.values = append(o.values, v); return nil }
func (o *override) Type() string {
	if o.flag.Switch() {
		return "bool" // shown without a value
	}
	return o.flag.Form
}

// register adds the flags to a command.
func (f *specFlags) register(a *app, c *cobra.Command) {
	flags := c.Flags()
	flags.SortFlags = false
	flags.StringVarP(&f.profile, "profile", "p", "", "`PROFILE`: a name (cove profile ls) or a file")
	flags.StringVarP(&f.name, "name", "n", "", "`NAME`; one is made up without it")
	short := map[string]string{"env": "e"}
	for _, def := range config.Flags() {
		o := &override{flag: def}
		f.over = append(f.over, o)
		help := def.Help
		if mark := def.Unenforced(); mark != "" {
			help += " (" + mark + ")"
		}
		flag := flags.VarPF(o, def.Name, short[def.Name], help)
		if def.Switch() {
			flag.NoOptDefVal = "true"
		}
		complete := cobra.NoFileCompletions
		if def.Name == "gpu" {
			complete = a.completeGPUs
		}
		must(c.RegisterFlagCompletionFunc(def.Name, complete))
	}
	must(c.RegisterFlagCompletionFunc("name", cobra.NoFileCompletions))
	must(c.RegisterFlagCompletionFunc("profile", a.profileNames))
}

// switched tells whether the switch name was given and is on.
func (f *specFlags) switched(name string) bool {
	for _, o := range f.over {
		if o.flag.Name == name && len(o.values) > 0 {
			return o.values[len(o.values)-1] == "true"
		}
	}
	return false
}

// given tells whether the flag name was given.
func (f *specFlags) given(name string) bool {
	return slices.ContainsFunc(f.over, func(o *override) bool { return o.flag.Name == name && len(o.values) > 0 })
}

// resolve puts the profile and the flags together into a spec that this build
// can enforce.
func (f *specFlags) resolve(a *app) (config.Spec, error) {
	if f.name != "" {
		if err := config.ValidName(f.name); err != nil {
			return config.Spec{}, usagef("-n: %w", err)
		}
	}
	if f.switched("rm") && f.given("auto-delete") {
		return config.Spec{}, usagef("--rm and --auto-delete exclude each other")
	}
	profile, err := a.findProfile(f.profile)
	if err != nil {
		return config.Spec{}, err
	}
	for _, o := range f.over {
		if err := profile.Override(o.flag.Name, o.values...); err != nil {
			return config.Spec{}, err
		}
	}
	if err := profile.Check(); err != nil {
		return config.Spec{}, err
	}
	return profile.Spec, nil
}

// profiles are the places where this caller's profiles are.
func (a *app) profiles() (*config.Profiles, error) {
	dir, err := os.Getwd()
	if err != nil {
		return nil, fmt.Errorf("find the current directory: %w", err)
	}
	return &config.Profiles{
		Dir: dir, UserDir: config.UserDir(os.Getenv), SystemDir: config.SystemDir, BuiltIn: assets.Profiles(),
		Home: homeDir(), TrustFile: config.TrustFile(os.Getenv),
	}, nil
}

// findProfile resolves a profile by name or path; the empty name is the
// default one: the project's own where it is trusted.
func (a *app) findProfile(name string) (*config.Profile, error) {
	profiles, err := a.profiles()
	if err != nil {
		return nil, err
	}
	if name != "" {
		return profiles.Resolve(name)
	}
	own, err := profiles.Own()
	if err != nil {
		return nil, err
	}
	switch {
	case own == nil:
	case trusted(own), len(own.Project.Beyond) > 0:
		// One that asks for more is not passed over: its check says what to do.
		return own, nil
	default:
		a.warn("%s is not trusted, so it is not the default here (use it with -p ./%s, or: cove trust)", own.Source, own.Source)
	}
	settings, err := config.LoadSettings(profiles.SystemDir, profiles.UserDir)
	if err != nil {
		return nil, err
	}
	return profiles.Default(settings)
}

// trusted tells whether a profile is nobody's but the user's or the machine's,
// or of a project that the user trusts.
func trusted(p *config.Profile) bool { return p.Project == nil || p.Project.Trusted }

// homeDir is what "~" in a profile stands for, or "".
func homeDir() string {
	if dir := os.Getenv("HOME"); filepath.IsAbs(dir) {
		return dir
	}
	return ""
}

// profileNames completes the names of profiles.
func (a *app) profileNames(_ *cobra.Command, _ []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	profiles, err := a.profiles()
	if err != nil {
		return nil, cobra.ShellCompDirectiveDefault
	}
	// A directory that cannot be listed has nothing to offer.
	entries, _ := profiles.List()
	var names []string
	for _, e := range entries {
		if !e.Shadowed && strings.HasPrefix(e.Name, toComplete) {
			names = append(names, cobra.CompletionWithDesc(e.Name, oneLine(e.Description)))
		}
	}
	return names, cobra.ShellCompDirectiveDefault
}
