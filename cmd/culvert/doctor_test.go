package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/culvert-vpn/culvert/doctor"
	"github.com/culvert-vpn/culvert/explain"
)

// TestReportText renders every result, for a page and for a terminal.
func TestReportText(t *testing.T) {
	report := doctor.Report{Checks: []doctor.Check{
		{ID: "configuration", Group: doctor.Configuration, Result: doctor.OK, Text: "it is accepted"},
		{ID: "port-500", Group: doctor.Host, Result: doctor.Failure, Cause: explain.PortInUse, Text: `UDP port 500 is in use by "charon" (process 12 of strongswan.service), which is strongSwan`,
			Fixes: []explain.Fix{{Side: explain.Here, Text: "stop it", Lines: []string{"# systemctl disable --now strongswan.service"}}}},
		{ID: "clock", Group: doctor.Host, Result: doctor.Note, Text: "nothing keeps it right"},
		{ID: "overlap", Group: doctor.Host, Connection: "office", Result: doctor.Warning, Text: strings.Repeat("a long story, ", 15) + "in the end"},
		{ID: "cloud", Group: doctor.Cloud, Result: doctor.Unknown, Text: "nobody knows"},
		{ID: "port-500", Group: doctor.Peer, Connection: "office", Result: doctor.OK, Text: "the peer answers"},
		{ID: "nat", Group: doctor.Peer, Connection: "branch", Result: doctor.Warning, Text: "we are behind a NAT", Fixes: []explain.Fix{
			{Side: explain.Peer, Text: "expect @foo", Lines: []string{"connections {", "  branch {", "  }", "}"}}, {Side: explain.Between, Text: "let it pass"},
		}},
	}}
	var out bytes.Buffer
	if err := writeReport(&out, &report, false); err != nil {
		t.Fatal(err)
	}
	golden(t, filepath.Join("testdata", "doctor.golden"), out.Bytes())
	plain := out.String()
	out.Reset()
	if err := writeReport(&out, &report, true); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "\x1b[31;1mfailure\x1b[0m") || strings.Contains(plain, "\x1b") {
		t.Errorf("colours: %q", out.String())
	}
}

// TestDoctorCommand wants the exit codes that are documented.
func TestDoctorCommand(t *testing.T) {
	path := filepath.Join(t.TempDir(), "culvert.conf")
	for _, c := range []struct {
		name, conf string
		args       []string
		code       int
		stdout     string
		stderr     string
	}{
		{"nothing wrong", "", nil, exitFine, "is accepted, with 0 connections", ""},
		{"an error in the configuration", "connections { a { } }", nil, exitProblems, "FAILURE  configuration", "problems found"},
		{"a connection that is not there", "", []string{"office"}, exitProblems, `there is no connection "office"`, "1 problem found"},
		{"an unknown group", "", []string{"--skip", "dog"}, exitUsage, "", `"dog" is not host, cloud or peer`},
		{"no patience", "", []string{"--timeout", "0s"}, exitUsage, "", "--timeout is 0s"},
		{"JSON", "", []string{"--json"}, exitFine, `"id": "configuration"`, ""},
	} {
		if err := os.WriteFile(path, []byte(c.conf), 0o600); err != nil {
			t.Fatal(err)
		}
		var stdout, stderr bytes.Buffer
		args := append([]string{"doctor", "--config", path, "--control", filepath.Join(t.TempDir(), "none"), "--skip", "host,cloud"}, c.args...)
		code := execute(args, &stdout, &stderr)
		if code != c.code || !strings.Contains(stdout.String(), c.stdout) || !strings.Contains(stderr.String(), c.stderr) {
			t.Errorf("%s: %d, %q, %q", c.name, code, stdout.String(), stderr.String())
		}
	}
}
