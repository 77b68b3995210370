//go:build linux

package e2e

import (
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestObserve looks at one tunnel with all that there is to look with: the metrics and the trace, and a capture of what is inside,
// which tshark reads.
func TestObserve(t *testing.T) {
	t.Parallel()
	const metrics = "127.0.0.1:9517"
	ref := NewReference(t, Plan{B: OneToOne})
	watched := func(h *Host, conf string) Peer {
		return NewCulvert(h, conf, "--allow-capture", "--metrics", metrics)
	}
	p := cast{"culvert to strongSwan", strongSwan, watched}.play(t, ref, referenceA, referenceB)
	c, b := p.calls()[1], p.b.(*Culvert)
	scrape := func() (page string) {
		t.Helper()
		Must(t, ref.B.Host.Do(func() (err error) {
			page, err = get(metrics, "/metrics")
			return err
		}))
		return page
	}
	if page := scrape(); !strings.Contains(page, `culvert_connection_up{connection="site"} 0`) {
		t.Errorf("before it is up:\n%s", page)
	}
	c.up("site", "net")

	const captured = 40
	over := make(chan error, 1)
	go func() {
		_, err := b.Ctl("capture", "site", "-w", "/run/inside.pcapng", "--count", fmt.Sprint(captured))
		over <- err
	}()
	sent := 0
	for ended := false; !ended; {
		c.ping(10)
		sent += 10
		select {
		case err := <-over:
			Must(t, err)
			ended = true
		case <-time.After(10 * time.Millisecond):
		}
	}
	inside := &Capture{Path: filepath.Join(b.dir, "inside.pcapng"), host: ref.B.Host}
	frames, err := inside.Decode(Keys{}, "frame.comment", "icmp.type", "frame.packet_flags_direction")
	Must(t, err)
	if len(frames) != captured {
		t.Errorf("tshark finds %d packets", len(frames))
	}
	for _, f := range frames {
		comment := strings.Join(f.Fields["frame.comment"], ",")
		out, echoed := strings.HasPrefix(comment, "site/net out, SPI "), slices.Contains(f.Fields["icmp.type"], "0")
		if f.Malformed || !slices.Contains(f.Protocols, "icmp") || out != echoed || !out && !strings.HasPrefix(comment, "site/net in, SPI ") {
			t.Errorf("%+v", f)
		}
	}

	Must(t, b.RekeyChild("net"))
	c.ping(10)
	page := scrape()
	for _, line := range []string{ // to us a peer that forces encapsulation looks like one behind a NAT
		`culvert_connection_up{connection="site"} 1`, `culvert_child_up{child="net",connection="site"} 1`, `culvert_ike_sas_nat{connection="site",nat="both"} 1`,
		`culvert_child_rekeys_total{child="net",connection="site"} 1`,
		fmt.Sprintf(`culvert_child_packets_total{child="net",connection="site",direction="in"} %d`, sent+10),
		fmt.Sprintf(`culvert_child_packets_total{child="net",connection="site",direction="out"} %d`, sent+10),
		`culvert_control_loop_answers 1`,
	} {
		if !strings.Contains(page, line+"\n") {
			t.Errorf("the metrics lack %s", line)
		}
	}
	trace, err := b.Ctl("trace", "site")
	Must(t, err)
	for _, words := range []string{"> IKE_SA_INIT     req", "N(NAT_DETECTION_SOURCE_IP)", "< IKE_AUTH        resp id=1", "> CREATE_CHILD_SA req"} {
		if !strings.Contains(trace, words) {
			t.Errorf("the trace lacks %q:\n%s", words, trace)
		}
	}
	if !strings.Contains(b.Log(), "packets are being captured in clear") || strings.Contains(page+trace+b.Log(), "qwerty") {
		t.Errorf("the log does not tell of the capture, or something tells the secret:\n%s", b.Log())
	}
	if t.Failed() {
		t.Logf("%s\n%s", page, tails(p.a, p.b))
	}
}

// get asks a web server, from the namespace that the caller is in, for a page.
func get(address, path string) (string, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(soon))
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.0\r\nHost: %s\r\n\r\n", path, address); err != nil {
		return "", err
	}
	page, err := io.ReadAll(conn)
	return string(page), err
}
