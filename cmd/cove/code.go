package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"cove/config"
	"cove/runtime/api"
)

// codeFlags say where the source comes from and what it is in.
type codeFlags struct {
	execFlags
	language, snippet string
	vars              []string
}

// maxSource is the size of source that a daemon takes, in bytes.
const maxSource = 512 << 10

func (a *app) codeCommand() *cobra.Command {
	var flags codeFlags
	c := &cobra.Command{
		Use:   "code NAME [FILE|-] [-- ARGS...]",
		Short: "Run a source file in a sandbox",
		Long: `Run a source file of this machine in a sandbox, and exit with its status as exec
does. The language is that of --lang, of the file's extension, of its first line
(#!) or of the sandbox's profile: python, javascript, typescript, bash, go, ruby.
With - or without FILE the source is read from standard input, and the program
reads nothing; else -i passes standard input on to it. The source is not copied
into the sandbox but for as long as it runs.`,
		Example: `  cove code a script.py -- --verbose "two words"
  echo 'print(6*7)' | cove code a
  cove code a --lang bash -e 'echo $0 $1' -- one
  cat data | cove code a -i filter.rb`,
		Args: func(cmd *cobra.Command, args []string) error {
			before := len(args)
			if n := cmd.ArgsLenAtDash(); n >= 0 {
				before = n
			}
			most := 2
			if cmd.Flags().Changed("snippet") {
				most = 1
			}
			switch {
			case before == 0:
				return usagef("takes the name of a sandbox and a source file (see: cove code --help)")
			case before > most:
				return usagef("got %q behind the source: arguments for it come after -- (see: cove code --help)", args[most])
			}
			return nil
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return a.sandboxNames(1)(cmd, args, toComplete)
			}
			return nil, cobra.ShellCompDirectiveDefault
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			file, rest := "-", args[1:]
			if n := cmd.ArgsLenAtDash(); !cmd.Flags().Changed("snippet") && len(rest) > 0 && n != 1 {
				file, rest = rest[0], rest[1:]
			}
			return a.code(cmd.Context(), args[0], file, rest, &flags, cmd.Flags().Changed("snippet"))
		},
	}
	flags.register(c)
	c.Flags().StringVarP(&flags.language, "lang", "l", "", "`LANGUAGE` of the source")
	c.Flags().StringVarP(&flags.snippet, "snippet", "e", "", "the source itself, in place of FILE (others on this machine can see it while it runs)")
	c.Flags().StringArrayVar(&flags.vars, "env", nil, "environment variable `K=V`; K alone is taken from here")
	must(c.RegisterFlagCompletionFunc("lang", cobra.FixedCompletions([]string{"python", "javascript", "typescript", "bash", "go", "ruby"}, cobra.ShellCompDirectiveNoFileComp)))
	for _, name := range []string{"snippet", "env"} {
		must(c.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions))
	}
	return c
}

func (a *app) code(ctx context.Context, name, file string, args []string, flags *codeFlags, snippet bool) error {
	env, err := parseEnv(flags.vars)
	if err != nil {
		return err
	}
	r := api.CodeRequest{Language: flags.language}
	switch {
	case snippet:
		r.Source = []byte(flags.snippet)
	case file == "-":
		if flags.stdin || flags.tty {
			return usagef("the source comes from standard input, so the program cannot have it: give a FILE or -e with -i or -t")
		}
		if isTerminal(a.stdin) {
			a.warn("code: reading the source from the terminal; end it with ctrl+d")
		}
		r.Source, err = readSource(a.stdin, "standard input")
	default:
		r.Name = filepath.Base(file)
		r.Source, err = readSourceFile(file)
	}
	if err != nil {
		return err
	}
	if r.ExecRequest, err = flags.request(a, args, env); err != nil {
		return err
	}
	run := newForwarder()
	defer run.stop()
	client, err := a.client(ctx)
	if err != nil {
		return err
	}
	return a.runStream(ctx, client, name, r.ExecRequest, run, func(ctx context.Context) (*api.Stream, error) {
		return client.Code(ctx, name, r)
	})
}

func readSourceFile(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, reasonOf(err))
	}
	defer closeQuietly(f)
	if st, err := f.Stat(); err == nil && st.IsDir() {
		return nil, fmt.Errorf("%s is a directory: one file is run (copy the rest with cove cp and run it with cove exec)", file)
	}
	return readSource(f, file)
}

func readSource(r io.Reader, what string) ([]byte, error) {
	source, err := io.ReadAll(io.LimitReader(r, maxSource+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, reasonOf(err))
	}
	if len(source) > maxSource {
		return nil, fmt.Errorf("%s is larger than %s (copy it with cove cp and run it with cove exec)", what, config.Size(maxSource))
	}
	return source, nil
}
