package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cove/config"
	"cove/runtime/api"
)

// automationFlags are the flags of create that cove automation has too.
func automationFlags() []config.Flag {
	var flags []config.Flag
	for _, f := range config.Flags() {
		if strings.HasPrefix(f.Key, "automation.") && !f.Switch() {
			flags = append(flags, f)
		}
	}
	return flags
}

func (a *app) automationCommand() *cobra.Command {
	var asJSON bool
	var over []*override
	c := &cobra.Command{
		Use:   "automation NAME [--auto-stop D] [--auto-pause D] [--auto-delete D] [--ttl D]",
		Short: "Show or change what happens to a sandbox with time",
		Long: "Show what happens to a sandbox with time and what is due next, or change it, in any state. Idle time\n" +
			"and the time since the stop then count from now; a ttl always counts from when the sandbox was made.",
		Example:           "  cove automation web\n  cove automation web --auto-stop 30m --auto-delete 7d\n  cove automation web --ttl never",
		Args:              oneName,
		ValidArgsFunction: a.sandboxNames(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.automation(cmd.Context(), args[0], over, asJSON)
		},
	}
	for _, f := range automationFlags() {
		help := f.Help
		if mark := f.Unenforced(); mark != "" {
			help += " (" + mark + ")"
		}
		o := &override{flag: f}
		over = append(over, o)
		c.Flags().Var(o, f.Name, help)
		must(c.RegisterFlagCompletionFunc(f.Name, cobra.NoFileCompletions))
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print it as JSON")
	return c
}

func (a *app) automation(ctx context.Context, name string, over []*override, asJSON bool) error {
	change, err := automationChange(over)
	if err != nil {
		return err
	}
	client, err := a.client(ctx)
	if err != nil {
		return err
	}
	d, err := client.Get(ctx, name)
	if err != nil {
		return explain(err, name)
	}
	if change != nil {
		if d.Spec.Automation, err = change(d.Spec); err != nil {
			return err
		}
		if d.Sandbox, err = client.SetAutomation(ctx, d.ID, d.Spec.Automation); err != nil {
			return explain(err, name)
		}
		if !asJSON {
			return nil
		}
	}
	if asJSON {
		return a.printJSON(struct {
			config.Automation
			Due *dueView `json:"due"`
		}{d.Spec.Automation, viewOfDue(d.Due, time.Now())})
	}
	return a.printf("%s", describeAutomation(d, time.Now()))
}

// automationChange is what the flags change of an automation; nil: nothing.
func automationChange(over []*override) (func(config.Spec) (config.Automation, error), error) {
	given := slices.DeleteFunc(slices.Clone(over), func(o *override) bool { return len(o.values) == 0 })
	if len(given) == 0 {
		return nil, nil
	}
	change := func(s config.Spec) (config.Automation, error) {
		p := config.NewOverride(s)
		for _, o := range given {
			if err := p.Override(o.flag.Name, o.values...); err != nil {
				return config.Automation{}, err
			}
		}
		return p.Spec.Automation, nil
	}
	// What is wrong as written is told before anybody is asked.
	_, err := change(config.Defaults())
	return change, err
}

// describeAutomation says in words what happens to a sandbox with time.
func describeAutomation(d api.Detail, now time.Time) string {
	auto := d.Spec.Automation
	var b strings.Builder
	line := func(key, value string) { fmt.Fprintf(&b, "%-13s %s\n", key, value) }
	line("auto_stop", idleWord(auto.AutoStop))
	line("auto_pause", idleWord(auto.AutoPause))
	line("auto_archive", auto.AutoArchive.String())
	line("auto_delete", auto.AutoDelete.String())
	line("ttl", auto.TTL.String())
	line("activity", strings.Join(auto.Counts(), ", "))
	if len(auto.PreStop) > 0 {
		line("pre_stop", fmt.Sprintf("%s (at most %v)", oneLine(strings.Join(auto.PreStop, " ")), config.Duration(auto.HookTimeout())))
	}
	due := "nothing"
	if text := d.Due.Text(now); text != "" {
		due = oneLine(text)
	}
	line("due", due)
	return b.String()
}

// idleWord is an idle time in words: 0 is never, as only for these.
func idleWord(d config.Duration) string {
	if d == 0 {
		return config.Never.String()
	}
	return d.String()
}

// dueView is what is due as --json shows it.
type dueView struct {
	*api.Due
	// In is in how many seconds, null while something holds it off.
	In   *float64 `json:"in"`
	Text string   `json:"text"`
}

func viewOfDue(d *api.Due, now time.Time) *dueView {
	if d == nil {
		return nil
	}
	v := &dueView{Due: d, Text: d.Text(now)}
	if !d.At.IsZero() {
		in := max(0, d.At.Sub(now).Round(time.Millisecond).Seconds())
		v.In = &in
	}
	return v
}
