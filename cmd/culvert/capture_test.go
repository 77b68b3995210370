package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/culvert-vpn/culvert/gateway"
	"github.com/culvert-vpn/culvert/internal/demo"
	"github.com/culvert-vpn/culvert/udp/udptest"
)

// TestPcapng: what is written is a capture without a link layer, whose packets say whose they are.
func TestPcapng(t *testing.T) {
	var b bytes.Buffer
	w, err := newPcapng(&b, gateway.CaptureOptions{Connection: "office", Snap: 20})
	if err != nil || b.Len() == 0 {
		t.Fatal("nothing is written before the first packet", err)
	}
	at := time.Date(2026, 1, 2, 12, 0, 0, 123456789, time.UTC)
	packet := append([]byte{0x45}, make([]byte, 19)...)
	for _, out := range []bool{true, false} {
		if err := w.packet(&gateway.CapturedPacket{Time: at, Out: out, Connection: "office", Child: "net", SPI: "c1234567", Data: packet, Length: 84}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	r, err := pcapgo.NewNgReader(&b, pcapgo.DefaultNgReaderOptions)
	if err != nil || r.LinkType() != layers.LinkTypeRaw {
		t.Fatal(err, r.LinkType())
	}
	for _, want := range []struct {
		comment   string
		direction pcapgo.NgEpbFlag
	}{{"office/net out, SPI c1234567", pcapgo.NgEpbFlagDirectionOutbound}, {"office/net in, SPI c1234567", pcapgo.NgEpbFlagDirectionInbound}} {
		data, info, options, err := r.ReadPacketDataWithOptions()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(data, packet) || info.Length != 84 || !info.Timestamp.Equal(at) || len(options.Comments) != 1 || options.Comments[0] != want.comment ||
			options.Flags == nil || options.Flags.Direction != want.direction {
			t.Errorf("%x %+v %+v, want %+v", data, info, options, want)
		}
	}
}

// TestCaptureNotAllowed: a daemon that does not allow it says how to.
func TestCaptureNotAllowed(t *testing.T) {
	socket := startGateway(t, udptest.NewNetwork(), "172.16.0.1", demo.ConfigB)
	code, _, stderr := culvert("capture", "site-a", "--control", socket)
	if code != exitFailed || !strings.Contains(stderr, "--allow-capture") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	if code, _, _ := culvert("capture", "site-a", "--snap", "-1", "--control", socket); code != exitUsage {
		t.Errorf("exit code %d", code)
	}
}

// TestPprof writes profiles of the daemon through its control socket.
func TestPprof(t *testing.T) {
	socket := startGateway(t, udptest.NewNetwork(), "172.16.0.1", demo.ConfigB)
	if code, stdout, stderr := culvert("debug", "pprof", "goroutine", "--control", socket); code != exitFine || !strings.Contains(stdout, "(*control).run") {
		t.Errorf("exit code %d: %.300s%s", code, stdout, stderr)
	}
	path := filepath.Join(t.TempDir(), "heap")
	code, _, stderr := culvert("debug", "pprof", "heap", "-o", path, "--control", socket)
	profile, err := os.ReadFile(path)
	if code != exitFine || err != nil || !bytes.HasPrefix(profile, []byte{0x1f, 0x8b}) || bytes.Contains(profile, []byte("qwerty")) {
		t.Errorf("exit code %d, %v: %.20x%s", code, err, profile, stderr)
	}
	if code, _, stderr := culvert("debug", "pprof", "nonsense", "--control", socket); code != exitFailed || !strings.Contains(stderr, "goroutine, heap") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}
