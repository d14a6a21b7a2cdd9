package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"cove/config"
	"cove/runtime/api"
	"cove/runtime/dockerfile"
	"cove/runtime/image"
)

// buildFlags say what is built.
type buildFlags struct {
	file, name, target, profile string
	args                        []string
	noCache, quiet, asJSON      bool
}

func (a *app) snapshotBuildCommand() *cobra.Command {
	var flags buildFlags
	c := &cobra.Command{
		Use:   "build [flags] [CONTEXT]",
		Short: "Build a snapshot from a Dockerfile",
		Long: `Build a snapshot from a Dockerfile, and print its name. CONTEXT is the directory
whose files COPY and ADD take, without what its .dockerignore names (default: the
one that the Dockerfile is in). Each RUN runs in a sandbox, with the limits and the
network of a profile. A step that was done before, on the same ground, is not done
again; what a step makes is kept for 14 days after it was last used.

FROM takes images (docker.io/library/debian:12), host for this machine's own
system, snapshot:NAME and scratch. Not supported are RUN --mount and its like, ADD
of what is fetched, HEALTHCHECK and ONBUILD: each is refused by its name.

When a step fails the build stays, as a sandbox in the state build_failed: cove logs
shows what it printed, cove rebuild tries again from that step, cove rm gives it up.`,
		Example: "  cove snapshot build -f Dockerfile -n web .\n  cove create --image snapshot:web",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef("takes one directory, got %d arguments (see: %s --help)", len(args), cmd.CommandPath())
			}
			return nil
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := ""
			if len(args) > 0 {
				dir = args[0]
			}
			return a.buildSnapshot(cmd.Context(), flags, dir)
		},
	}
	c.Flags().StringVarP(&flags.file, "file", "f", "", "the Dockerfile (default: CONTEXT/Dockerfile; - is standard input)")
	c.Flags().StringVarP(&flags.name, "name", "n", "", "what the snapshot is called")
	c.Flags().StringVarP(&flags.profile, "profile", "p", "", "whose limits and network its steps have")
	c.Flags().StringArrayVar(&flags.args, "build-arg", nil, "`K=V` for an ARG; K alone is taken from the environment")
	c.Flags().StringVar(&flags.target, "target", "", "the `STAGE` that is built")
	c.Flags().BoolVar(&flags.noCache, "no-cache", false, "do every step anew")
	c.Flags().BoolVarP(&flags.quiet, "quiet", "q", false, "show nothing of what it prints")
	c.Flags().BoolVar(&flags.asJSON, "json", false, "print JSON")
	must(c.RegisterFlagCompletionFunc("profile", a.profileNames))
	return c
}

func (a *app) buildSnapshot(ctx context.Context, flags buildFlags, dir string) error {
	if flags.name != "" {
		if err := config.ValidName(flags.name); err != nil {
			return usagef("-n: %w", err)
		}
	}
	args, err := buildArgs(flags.args)
	if err != nil {
		return err
	}
	text, dir, err := a.readDockerfile(flags.file, dir)
	if err != nil {
		return err
	}
	req := api.BuildRequest{ID: api.NewID(), Name: flags.name, Dockerfile: string(text), Args: args, Target: flags.target, NoCache: flags.noCache}
	profile, err := a.findProfile(flags.profile)
	if err != nil {
		return err
	}
	profile.Spec.Env, profile.Spec.Mounts, profile.Spec.Volumes, profile.Spec.Setup = nil, nil, nil, nil
	if err := profile.Check(); err != nil {
		return err
	}
	req.Spec = profile.Spec
	if req.Auth, err = buildAuth(text, args, flags.target); err != nil {
		return err
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	client, err := a.client(ctx)
	if err != nil {
		return err
	}
	files, err := contextTar(dir)
	if err != nil {
		return err
	}
	defer closeQuietly(files)
	s, err := client.Build(ctx, req, files, a.buildLog(flags.quiet))
	return a.tellBuilt(ctx, s, err, flags.asJSON)
}

// buildLog is where what a build prints goes.
func (a *app) buildLog(quiet bool) io.Writer {
	if quiet {
		return nil
	}
	if !isTerminal(a.stderr) {
		return a.stderr
	}
	return &plainLines{w: a.stderr}
}

// plainLines writes what a stranger's program prints to a person's terminal, by the
// line and without anything that controls it.
type plainLines struct {
	w   io.Writer
	buf []byte
}

// maxLine is how much of a line is waited for.
const maxLine = 64 << 10

// Write implements io.Writer.
func (p *plainLines) Write(b []byte) (int, error) {
	p.buf = append(p.buf, b...)
	for {
		i := bytes.IndexByte(p.buf, '\n')
		if i < 0 && len(p.buf) < maxLine {
			return len(b), nil
		}
		if i < 0 {
			i = len(p.buf)
		}
		line := strings.TrimRight(string(p.buf[:i]), "\r")
		// Of a line that was written over the last state counts.
		line = line[strings.LastIndexByte(line, '\r')+1:]
		p.buf = append(p.buf[:0], p.buf[min(i+1, len(p.buf)):]...)
		if _, err := fmt.Fprintln(p.w, oneLine(strings.ReplaceAll(line, "\t", "    "))); err != nil {
			return 0, err
		}
	}
}

func (a *app) tellBuilt(ctx context.Context, s api.Snapshot, err error, asJSON bool) error {
	switch {
	case ctx.Err() != nil:
		return context.Canceled
	case errors.Is(err, api.ErrExists):
		return hint(errors.New("you have a snapshot of that name"), "choose another with -n, or: cove snapshot rm")
	case err != nil:
		return explain(err, "")
	case asJSON:
		return a.printJSON(s)
	}
	return a.printf("%s\n", s.Name)
}

func buildArgs(list []string) (map[string]string, error) {
	args := map[string]string{}
	for _, kv := range list {
		k, v, ok := strings.Cut(kv, "=")
		if k == "" {
			return nil, usagef("--build-arg %q: it takes K=V", kv)
		}
		if !ok {
			if v, ok = os.LookupEnv(k); !ok {
				continue // as if it was not given
			}
		}
		args[k] = v
	}
	return args, nil
}

// readDockerfile reads the Dockerfile, and tells which directory its files are in.
func (a *app) readDockerfile(file, dir string) ([]byte, string, error) {
	if file == "-" {
		if dir == "" {
			dir = "."
		}
		text, err := io.ReadAll(io.LimitReader(a.stdin, dockerfile.MaxSize+1))
		return text, dir, err
	}
	switch {
	case file == "" && dir == "":
		file, dir = "Dockerfile", "."
	case file == "":
		file = filepath.Join(dir, "Dockerfile")
	case dir == "":
		dir = filepath.Dir(file)
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, "", hint(fmt.Errorf("%s: %w", file, reasonOf(err)), "-f names the Dockerfile")
	}
	defer closeQuietly(f)
	text, err := io.ReadAll(io.LimitReader(f, dockerfile.MaxSize+1))
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", file, reasonOf(err))
	}
	return text, dir, nil
}

// buildAuth is what the caller has for the registries of the images that are built
// on.
func buildAuth(text []byte, args map[string]string, target string) (map[string]*api.RegistryAuth, error) {
	f, err := dockerfile.Parse(text)
	if err != nil {
		return nil, usagef("%w", err)
	}
	refs, err := f.Images(target, args)
	if err != nil {
		return nil, usagef("%w", err)
	}
	auth := map[string]*api.RegistryAuth{}
	for _, ref := range refs {
		registry, err := image.Registry(ref)
		if err != nil || ref == config.HostImage || ref == "scratch" {
			continue
		}
		if a, err := registryAuth(ref); err != nil {
			return nil, err
		} else if a != nil {
			auth[registry] = a
		}
	}
	return auth, nil
}

func (a *app) rebuildCommand() *cobra.Command {
	var quiet, asJSON bool
	c := &cobra.Command{
		Use: "rebuild SANDBOX", Short: "Do a build that failed again, from the step that failed",
		Args:              exactly(1, "the sandbox of a build that failed"),
		ValidArgsFunction: a.sandboxNames(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			client, err := a.client(ctx)
			if err != nil {
				return err
			}
			s, err := client.Rebuild(ctx, args[0], a.buildLog(quiet))
			if errors.Is(err, api.ErrNotFound) || errors.Is(err, api.ErrConflict) {
				return explain(err, args[0])
			}
			return a.tellBuilt(ctx, s, err, asJSON)
		},
	}
	c.Flags().BoolVarP(&quiet, "quiet", "q", false, "show nothing of what it prints")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
