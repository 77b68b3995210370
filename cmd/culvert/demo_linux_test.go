package main

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/culvert-vpn/culvert/internal/lab"
)

func TestDemo(t *testing.T) {
	h := machine(t)
	tmp := t.TempDir()
	p := launch(t, h, []string{"TMPDIR=" + tmp}, "demo", "--size", "3")
	if code := p.exit(); code != exitFine {
		t.Errorf("exit code %d", code)
	}
	text := p.said.String()
	for says, times := range map[string]int{
		"10.103.0.2  --- 203.0.113.1 === internet === 192.0.2.10 --- 172.16.0.1 --- 10.104.0.2": 1,
		"gateway A found out: the peer is behind a NAT":                                         2,
		"gateway B found out: we are behind a NAT":                                              2,
		"203.0.113.1 <-> @foo":                              2,
		"owner @foo matches the peer exactly":               2,
		"50 sent, 50 answered, 0 lost":                      2,
		"3 MB in ":                                          4,
		"SHA-256 on both sides":                             4,
		"no device, route or rule is left":                  2,
		"what crossed the internet meanwhile: UDP to port ": 1,
		"Everything was as expected.":                       1,
		"FAILED":                                            0,
		"\x1b":                                              0, // nobody watches
	} {
		if got := strings.Count(text, says); got != times {
			t.Errorf("the demo says %q %d times, want %d", says, got, times)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
	p.leavesNothing(h)
	if files, err := os.ReadDir(tmp); err != nil || len(files) != 0 {
		t.Errorf("files are left: %v, %v", files, err)
	}
}

// TestDemoInterrupted ends demos in the middle: with signals that they notice, and with one that they do not.
func TestDemoInterrupted(t *testing.T) {
	for _, test := range []struct {
		signal syscall.Signal
		after  string
		code   int
	}{
		{syscall.SIGINT, "ok    build the network", exitFailed},
		{syscall.SIGINT, "ok    ping host B", exitFailed}, // a transfer that would take long is under way
		{syscall.SIGTERM, "ok    start the gateways", exitFailed},
		{syscall.SIGKILL, "ok    ping host B", -1},
	} {
		t.Run(test.signal.String()+" after "+test.after, func(t *testing.T) {
			h := machine(t)
			tmp := t.TempDir()
			p := launch(t, h, []string{"TMPDIR=" + tmp}, "demo", "--size", "100000")
			p.await(test.after)
			lab.Must(t, p.handle.Signal(test.signal))
			if code := p.exit(); code != test.code {
				t.Errorf("exit code %d, want %d", code, test.code)
			}
			text := p.said.String()
			if strings.Contains(text, "FAILED") || test.code == exitFailed && !strings.Contains(text, "interrupted; nothing is left behind") {
				t.Errorf("it says\n%s", text)
			}
			p.leavesNothing(h)
			if files, err := os.ReadDir(tmp); err != nil || len(files) != 0 {
				t.Errorf("files are left: %v, %v", files, err)
			}
		})
	}
}
