package main

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/explain"
	"github.com/culvert-vpn/culvert/gateway"
	"github.com/culvert-vpn/culvert/internal/demo"
	"github.com/culvert-vpn/culvert/udp/udptest"
)

// TestExplainText renders a connection that is down because of its own failure and of a stranger that may be its peer, and one that is
// up again.
func TestExplainText(t *testing.T) {
	now := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	refuses := &explain.Diagnosis{
		Cause: explain.PeerRefusesUs, Text: "the peer refuses: AUTHENTICATION_FAILED, and does not say whether it knows no @office, is not @branch itself, or has another secret",
		Compared: []explain.Compared{{What: "identity of this gateway", Sent: "AUTHENTICATION_FAILED, and not why", Configured: "@office"}},
		Fixes:    []explain.Fix{{Side: explain.Peer, Text: "its log says which"}},
	}
	stranger := &explain.Diagnosis{
		Cause: explain.UnknownIdentity, Connections: []string{"branch"},
		Text:     "no connection for a peer that says it is 172.16.0.1: the peer is behind a NAT and presents its private address 172.16.0.1 as its identity, as gateways do on which no identity is set; we see it at 192.0.2.10",
		Compared: []explain.Compared{{What: "identity of the peer, branch", Sent: "172.16.0.1", Configured: "@branch"}},
		Fixes: []explain.Fix{
			{Side: explain.Peer, Text: "set local.id = @branch", Lines: explain.Lines([]string{"id = @branch"}, "connections", "branch", "local")},
			{Side: explain.Here, Text: "set remote.id = 172.16.0.1 in connection branch", Lines: explain.Lines([]string{"id = 172.16.0.1"}, "connections", "branch", "remote")},
		},
	}
	status := gateway.Status{
		Time: now,
		Connections: []gateway.ConnectionStatus{
			{Name: "branch", LastFailure: &gateway.Failure{Time: now.Add(-time.Minute), Kind: "failed", Peer: "192.0.2.10:4500", Text: refuses.Text, Remedy: refuses.Remedy(), Diagnosis: refuses}},
			{Name: "mended", Up: true, LastFailure: &gateway.Failure{Time: now.Add(-time.Hour), Kind: "failed", Text: "the peer does not answer any more"}},
			{Name: "fine", Up: true},
		},
		Refused: []gateway.Failure{
			{Time: now.Add(-30 * time.Second), Kind: "failed", Peer: "192.0.2.10:4500", Text: stranger.Text, Remedy: stranger.Remedy(), Diagnosis: stranger},
			{Time: now.Add(-20 * time.Second), Kind: "failed", Peer: "192.0.2.10:4500", Text: stranger.Text, Remedy: stranger.Remedy(), Diagnosis: stranger},
		},
	}
	var out bytes.Buffer
	for _, c := range status.Connections {
		out.WriteString("# culvert explain " + c.Name + "\n")
		if err := explainConnection(&out, &status, c, false); err != nil {
			t.Fatal(err)
		}
	}
	out.WriteString("# culvert explain\n")
	if err := explainAll(&out, &status, false); err != nil {
		t.Fatal(err)
	}
	golden(t, filepath.Join("testdata", "explain.golden"), out.Bytes())

	var list []explanation
	out.Reset()
	if err := explainConnection(&out, &status, status.Connections[0], true); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(out.Bytes(), &list); err != nil || len(list) != 2 || list[0].Failure.Diagnosis.Cause != explain.UnknownIdentity || list[1].Connection != "branch" {
		t.Errorf("%v: %s", err, out.String())
	}
}

// TestExplainCatalogue needs no daemon.
func TestExplainCatalogue(t *testing.T) {
	nobody := filepath.Join(t.TempDir(), "control")
	for _, step := range []struct {
		line string
		code int
		says string
	}{
		{"wrong-secret", exitFine, "The two sides have different secrets (wrong-secret)"},
		{"10[IKE] tried 1 shared key for 'a' - 'b', but MAC mismatched", exitFine, "wrong-secret"},
		{"no matching peer config found --json", exitFine, `"cause": "unknown-identity"`},
		{"office", exitNotRunning, `nothing is known of "office"`},
		{"", exitNotRunning, ""},
	} {
		args := append([]string{"explain"}, strings.Fields(step.line)...)
		code, stdout, stderr := culvert(append(args, "--control", nobody)...)
		if code != step.code || !strings.Contains(stdout+stderr, step.says) {
			t.Errorf("explain %s: exit code %d\n%s%s", step.line, code, stdout, stderr)
		}
	}
}

// TestExplainConnection calls a peer with another secret, and asks both sides.
func TestExplainConnection(t *testing.T) {
	network := udptest.NewNetwork()
	called := startGateway(t, network, "203.0.113.1", strings.ReplaceAll(demo.ConfigA, "qwerty", `qwerty\n`))
	caller := startGateway(t, network, "172.16.0.1", demo.ConfigB)
	if code, _, stderr := culvert("up", "site-a", "--control", caller); code != exitFailed || !strings.Contains(stderr, "; at length: culvert explain site-a") {
		t.Errorf("exit code %d\n%s", code, stderr)
	}
	code, stdout, stderr := culvert("explain", "site-a", "--control", caller)
	if code != exitFine || !strings.Contains(stdout, "AUTHENTICATION_FAILED") || !strings.Contains(stdout, "culvert explain peer-refuses-us") {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
	code, stdout, stderr = culvert("explain", "--control", called)
	words := strings.Join(strings.Fields(stdout), " ")
	if code != exitFine || !strings.Contains(words, "ours begins or ends with white space") || !strings.Contains(words, `secret = "<what stands there now, without the white space around it>"`) {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
	code, stdout, stderr = culvert("explain", "nobody", "--control", called)
	if code != exitFailed || !strings.Contains(stderr, `there is no connection "nobody"`) {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
	if strings.Contains(stdout, "qwerty") {
		t.Error("the secret is printed")
	}
}
