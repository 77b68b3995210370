package main

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/culvert-vpn/culvert/gateway"
	"github.com/culvert-vpn/culvert/internal/demo"
	"github.com/culvert-vpn/culvert/udp/udptest"
)

// carrying is a gateway whose only child has carried this much.
func carrying(at time.Time, started time.Time, packets, bytes uint64) *gateway.Status {
	return &gateway.Status{Time: at, Started: started, Connections: []gateway.ConnectionStatus{{
		Name: "office", Up: true, Children: []gateway.ChildStatus{{Name: "net", Up: true, PacketsIn: packets, BytesIn: bytes}},
	}}}
}

// Rates are what was carried between two looks, in a second, and there are none across a restart.
func TestRates(t *testing.T) {
	now := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name          string
		before, after *gateway.Status
		want          string
		rates         bool
	}{
		{"first look", nil, carrying(now, now, 10, 1000), "1.0 kB", false},
		{"two seconds later", carrying(now, now, 10, 1000), carrying(now.Add(2*time.Second), now, 30, 401000), "200.0 kB/s  0 B/s  10/s", true},
		{"after a restart", carrying(now, now, 10, 1000), carrying(now.Add(2*time.Second), now.Add(time.Second), 3, 300), "300 B", false},
		{"configured anew", carrying(now, now, 10, 1000), carrying(now.Add(2*time.Second), now, 3, 300), "0 B/s", true},
	} {
		var b bytes.Buffer
		if err := writeTable(&b, c.after, c.before); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(b.String(), c.want) || strings.Contains(b.String(), "/s") != c.rates {
			t.Errorf("%s:\n%s", c.name, b.String())
		}
	}
}

// A watch begins anew at the first place of a terminal, and shows no more than fits.
func TestPage(t *testing.T) {
	if got, want := string(page([]byte("one\ntwo\n"), 24, 80)), "\x1b[Hone\x1b[K\ntwo\x1b[K\n\x1b[J"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := string(page([]byte("1\n2\nlong line\n4\n5\n"), 4, 4)), "\x1b[H1\x1b[K\n2\x1b[K\nlong\x1b[K\n(2 more lines)\x1b[K\x1b[J"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	var b bytes.Buffer
	s := newScreen(&b)
	for range 2 {
		if err := s.show(func(w io.Writer) error { _, err := w.Write([]byte("x\n")); return err }); err != nil {
			t.Fatal(err)
		}
	}
	if b.String() != "x\n\nx\n" {
		t.Errorf("without a terminal: %q", b.String())
	}
}

// What a peer sent changes nothing but its own place.
func TestScrub(t *testing.T) {
	evil := "a\x1b[2J\n\u202eb\xff\x80\t\u00ad"
	s := gateway.Status{
		Drops:     map[string]uint64{evil: 3},
		Shortages: []string{evil},
		Connections: []gateway.ConnectionStatus{{
			Name: evil, IKE: []gateway.IKEStatus{{RemoteID: evil, Remote: evil, Children: []gateway.ChildSAStatus{{Name: evil}}}},
			LastFailure: &gateway.Failure{Text: evil, Remedy: evil},
		}},
	}
	for _, f := range []statusFlags{{}, {verbose: true}, {watch: true}} {
		var b bytes.Buffer
		if err := f.print(&b, &s, nil); err != nil {
			t.Fatal(err)
		}
		if strings.ContainsAny(b.String(), "\x1b\u202e\t\u00ad") || !utf8.Valid(b.Bytes()) {
			t.Errorf("%q", b.String())
		}
		if !strings.Contains(b.String(), `a\x1b[2J\n\u202eb\xff\x80\t\u00ad`) {
			t.Errorf("the text is lost: %s", b.String())
		}
	}
	if got := printable("ordinary: \u00fcber \ufffd \u7f51"); got != "ordinary: \u00fcber \ufffd \u7f51" {
		t.Errorf("%q", got)
	}
}

// A name limits what is shown, and a wrong one is told.
func TestStatusOfOne(t *testing.T) {
	socket := startGateway(t, udptest.NewNetwork(), "172.16.0.1", demo.ConfigB)
	if code, stdout, stderr := culvert("status", "site-a", "--control", socket); code != exitFine || !strings.Contains(stdout, "@foo <-> 203.0.113.1") || strings.Contains(stdout, "gateway\n") {
		t.Errorf("exit code %d: %s%s", code, stdout, stderr)
	}
	code, stdout, _ := culvert("status", "site-a", "--json", "--control", socket)
	var s gateway.Status
	if err := json.Unmarshal([]byte(stdout), &s); err != nil || code != exitFine || len(s.Connections) != 1 {
		t.Errorf("exit code %d, %v: %s", code, err, stdout)
	}
	if code, _, stderr := culvert("status", "nowhere", "--control", socket); code != exitFailed || !strings.Contains(stderr, `there is no connection "nowhere"`) {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	if code, _, _ := culvert("status", "--watch", "--interval", "1ms", "--control", socket); code != exitUsage {
		t.Errorf("exit code %d", code)
	}
}
