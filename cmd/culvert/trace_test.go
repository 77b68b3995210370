package main

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/gateway"
	"github.com/culvert-vpn/culvert/internal/demo"
	"github.com/culvert-vpn/culvert/udp/udptest"
)

// TestLadder draws messages of all kinds.
func TestLadder(t *testing.T) {
	at := time.Date(2026, 1, 2, 12, 0, 0, 0, time.Local)
	first := gateway.TraceMessage{
		Number: 1, Time: at, Connection: "office", Out: true, Local: "172.16.0.1:500", Remote: "203.0.113.1:500", SPIi: "0011223344556677",
		Exchange: "IKE_SA_INIT", Initiator: true, Parts: []string{"SA", "KE", "Ni", "N(NAT_DETECTION_SOURCE_IP)"}, Bytes: 240, Datagrams: 1, Sends: 1,
	}
	again, answer, auth, forged := first, first, first, first
	again.Sends, again.Time = 2, at.Add(time.Second)
	answer.Out, answer.Response, answer.Sends, answer.Parts = false, true, 0, []string{"SA", "KE", "Nr"}
	auth.Exchange, auth.MessageID, auth.Local, auth.Remote = "IKE_AUTH", 1, "172.16.0.1:4500", "203.0.113.1:4500"
	auth.Parts, auth.More, auth.Datagrams, auth.Bytes = []string{"IDi", "CERT"}, 3, 4, 3800
	forged.Out, forged.Exchange, forged.MessageID, forged.Parts, forged.Repeated = false, "INFORMATIONAL\x1b[2J", 2, nil, true
	forged.Refused = "integrity check failed"
	var b bytes.Buffer
	l := ladder{w: &b}
	for _, m := range []gateway.TraceMessage{first, again, answer, auth, forged} {
		if err := l.rung(&m); err != nil {
			t.Fatal(err)
		}
	}
	golden(t, filepath.Join("testdata", "trace.golden"), b.Bytes())
}

// TestTrace has a tunnel come up, and looks at the messages of both sides.
func TestTrace(t *testing.T) {
	network := udptest.NewNetwork()
	answering := startGateway(t, network, "203.0.113.1", demo.ConfigA)
	calling := startGateway(t, network, "172.16.0.1", demo.ConfigB)
	if code, stdout, _ := culvert("trace", "site-a", "--control", calling); code != exitFine || stdout != "no messages yet\n" {
		t.Errorf("exit code %d: %s", code, stdout)
	}
	if code, _, stderr := culvert("up", "site-a", "--control", calling); code != exitFine {
		t.Fatal(stderr)
	}
	for socket, name := range map[string]string{calling: "site-a", answering: "site-b"} {
		code, stdout, stderr := culvert("trace", name, "--control", socket)
		var kinds []string
		for line := range strings.Lines(stdout) {
			if fields := strings.Fields(line); len(fields) > 4 && strings.HasPrefix(fields[2], "IKE_") {
				kinds = append(kinds, strings.Join(fields[1:5], " "))
			}
		}
		want := []string{"> IKE_SA_INIT req id=0", "< IKE_SA_INIT resp id=0", "> IKE_AUTH req id=1", "< IKE_AUTH resp id=1"}
		if socket == answering {
			want = []string{"< IKE_SA_INIT req id=0", "> IKE_SA_INIT resp id=0", "< IKE_AUTH req id=1", "> IKE_AUTH resp id=1"}
		}
		if code != exitFine || !strings.HasPrefix(strings.Join(kinds, "\n")+"\n", strings.Join(want, "\n")+"\n") || !strings.Contains(stdout, "IDi") {
			t.Errorf("%s: exit code %d, %q\n%s%s", name, code, kinds, stdout, stderr)
		}
		_, stdout, _ = culvert("trace", name, "--json", "--control", socket)
		decoder := json.NewDecoder(strings.NewReader(stdout))
		for n := uint64(0); decoder.More(); {
			var m gateway.TraceMessage
			if err := decoder.Decode(&m); err != nil || m.Number <= n || m.Exchange == "" || m.SPIi == "" || m.Bytes == 0 || m.Time.IsZero() {
				t.Fatalf("%v: %+v", err, m)
			}
			n = m.Number
		}
	}
	if code, _, stderr := culvert("trace", "nowhere", "--control", calling); code != exitFailed || !strings.Contains(stderr, `there is no connection "nowhere"`) {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}
