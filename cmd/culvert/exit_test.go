package main

import (
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
)

func TestExitCodes(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "control")
	absent := filepath.Join(t.TempDir(), "absent.conf")
	for _, test := range []struct {
		line string
		code int
		says string // on one of the two outputs
	}{
		{"", exitFine, "Available Commands:"},
		{"help", exitFine, "Available Commands:"},
		{"help exit-codes", exitFine, "3  No daemon is running"},
		{"help up", exitFine, "--timeout"},
		{"version", exitFine, "culvert "},
		{"--version", exitFine, "culvert "},
		{"completion bash", exitFine, "bash completion"},
		{"demo --configs", exitFine, "id = @foo"},

		{"bench --list", exitFine, "culvert-chacha     Culvert, ChaCha20-Poly1305\n"},

		{"statsu", exitUsage, `there is no command "statsu"; did you mean status?`},
		{"frobnicate", exitUsage, `there is no command "frobnicate"; see "culvert help"`},
		{"up", exitUsage, "up needs the NAME of a connection"},
		{"up one two", exitUsage, `but "two" was given as well`},
		{"up one --timeout 1h", exitUsage, "at most 10m"},
		{"down one --timeout 0s", exitUsage, "more than 0"},
		{"status now then", exitUsage, `takes only the NAME of a connection, but "then" was given as well`},
		{"run --nonsense", exitUsage, "unknown flag: --nonsense"},
		{"run --log-format xml", exitUsage, "it must be text, json or auto"},
		{"run --log-level loud", exitUsage, "it must be debug, info, warn or error"},
		{"demo --size 0", exitUsage, "--size is 0"},
		{"bench --rounds 0", exitUsage, "--rounds is 0"},
		{"bench --window 0s", exitUsage, "--window must be more than 0"},
		{"bench --insert performance.md", exitUsage, "--insert needs --output"},

		{"check " + absent, exitConfig, absent + ":1:1: cannot read"},
		{"run --config " + absent, exitConfig, absent + ":1:1: cannot read"},

		{"status --control " + socket, exitNotRunning, "no culvert is running here"},
		{"up a --control " + socket, exitNotRunning, "no culvert is running here"},
		{"down a --control " + socket, exitNotRunning, "no culvert is running here"},
		{"rekey a --control " + socket, exitNotRunning, "no culvert is running here"},
	} {
		code, stdout, stderr := culvert(strings.Fields(test.line)...)
		if code != test.code || !strings.Contains(stdout+stderr, test.says) {
			t.Errorf("culvert %s: exit code %d, want %d and %q; it says\n%s%s", test.line, code, test.code, test.says, stdout, stderr)
		}
		if code != exitFine && (stdout != "" || strings.Count(stderr, "\n") > 2) {
			t.Errorf("culvert %s fails in more words than needed:\n%s%s", test.line, stdout, stderr)
		}
	}
}

func TestVersion(t *testing.T) {
	for _, test := range []struct {
		info debug.BuildInfo
		want string
	}{
		{debug.BuildInfo{GoVersion: "go1.26.0"}, "culvert (unreleased), go1.26.0"},
		{debug.BuildInfo{
			GoVersion: "go1.26.0", Main: debug.Module{Version: "v1.2.3"},
			Settings: []debug.BuildSetting{
				{Key: "GOOS", Value: "linux"}, {Key: "GOARCH", Value: "arm64"}, {Key: "vcs.modified", Value: "true"},
				{Key: "vcs.revision", Value: "0123456789abcdef"}, {Key: "vcs.time", Value: "2026-01-02T03:04:05Z"},
			},
		}, "culvert v1.2.3, commit 0123456789ab of 2026-01-02T03:04:05Z with changes, go1.26.0, linux/arm64"},
	} {
		if got := describeBuild(&test.info); got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
}
