package config

import "time"

// DefaultPath is PATH inside a sandbox unless its profile says otherwise.
const DefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// DefaultWorkdir is the working directory inside, unless its profile or its image
// says otherwise.
const DefaultWorkdir = "/workspace"

// FromEnv as [EnvVar.From] takes the value from the caller at each start.
const FromEnv = "env"

// Defaults is the Spec of a profile that sets nothing, for the host image. It
// is made anew by each call. Its network is open, which this build cannot
// enforce: see [Unenforced].
func Defaults() Spec {
	return Spec{
		Image:           "host",
		Shell:           []string{"/bin/bash", "-l"},
		User:            "dev",
		NoNewPrivileges: true,
		Workdir:         DefaultWorkdir,
		Runtime:         "runc",
		Resources: Resources{
			CPU:    2,
			Memory: 4 * GiB,
			Pids:   4096,
		},
		Env: map[string]EnvVar{"PATH": {Value: DefaultPath}},
		Git: Git{Identity: true},
		Automation: Automation{
			StopTimeout: Duration(5 * time.Second),
			AutoArchive: Never,
			AutoDelete:  Never,
			TTL:         Never,
		},
	}
}

// FromCaller lists the variables whose values the caller brings along at each
// start, sorted.
func (s Spec) FromCaller() []string {
	var names []string
	for _, name := range sortedKeys(s.Env) {
		if s.Env[name].From == FromEnv {
			names = append(names, name)
		}
	}
	return names
}

// Secrets reads the variables of [Spec.FromCaller] by lookup ([os.LookupEnv])
// and names those that are not set and not optional. The values belong in the request that
// starts the sandbox and nowhere else.
func (s Spec) Secrets(lookup func(string) (string, bool)) (values map[string]string, missing []string) {
	for _, name := range s.FromCaller() {
		v, ok := lookup(name)
		if !ok {
			if !s.Env[name].Optional {
				missing = append(missing, name)
			}
			continue
		}
		if values == nil {
			values = map[string]string{}
		}
		values[name] = v
	}
	return values, missing
}
