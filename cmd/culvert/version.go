package main

import (
	"fmt"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), version())
			return err
		},
	}
}

// version is one line about what this program was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "culvert, built without module support"
	}
	return describeBuild(info)
}

func describeBuild(info *debug.BuildInfo) string {
	number := info.Main.Version
	if number == "" || number == "(devel)" {
		number = "(unreleased)"
	}
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	facts := []string{}
	if commit := settings["vcs.revision"]; commit != "" {
		words := "commit " + commit[:min(12, len(commit))]
		if when := settings["vcs.time"]; when != "" {
			words += " of " + when
		}
		if settings["vcs.modified"] == "true" {
			words += " with changes"
		}
		facts = append(facts, words)
	}
	facts = append(facts, info.GoVersion)
	if settings["GOOS"] != "" {
		facts = append(facts, settings["GOOS"]+"/"+settings["GOARCH"])
	}
	return "culvert " + number + ", " + strings.Join(facts, ", ")
}
