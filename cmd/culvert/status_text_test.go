package main

import (
	"bytes"
	"path/filepath"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/gateway"
)

// TestStatusText renders one connection that is up, one that fails, one that waits, and a stranger.
func TestStatusText(t *testing.T) {
	now := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	status := gateway.Status{
		Time: now, Started: now.Add(-50 * time.Hour), Device: "culvert0", MTU: 1390,
		Offloads: []gateway.OffloadStatus{
			{Name: "tso", State: "on"}, {Name: "uso", State: "missing"}, {Name: "queues", State: "on"}, {Name: "coalesce", State: "off"},
			{Name: "udp-segment", State: "off"}, {Name: "udp-gro", State: "unknown"},
		},
		AESGCM: "vaes-avx512", Queues: 2, Shortages: []string{"the receive buffer has 212992 bytes instead of 4194304, so that bursts are lost sooner: run with CAP_NET_ADMIN"},
		Drops:    map[string]uint64{"out-no-sa": 12, "in-junk": 3, "esp-replay": 12, "never": 0},
		IKEDrops: map[string]uint64{},
		Connections: []gateway.ConnectionStatus{
			{
				Name: "office", Up: true, Peer: "203.0.113.1", LocalID: "@foo", RemoteID: "203.0.113.1",
				IKE: []gateway.IKEStatus{{
					State: "established", Up: true, Initiator: true, SPIi: "0011223344556677", SPIr: "8899aabbccddeeff",
					Local: "172.16.0.1:4500", Remote: "203.0.113.1:4500", NAT: "we are behind a NAT", NATHere: true, MOBIKE: true, PeerAddresses: []string{"203.0.113.2"}, RedirectedBy: "203.0.113.9",
					LocalID: "@foo", RemoteID: "203.0.113.1", Secret: "owner 203.0.113.1 matches the peer exactly",
					Proposal: "aes256gcm16-prfsha256-x25519", Established: now.Add(-75 * time.Minute), RekeyAt: now.Add(2*time.Hour + 10*time.Second),
					Children: []gateway.ChildSAStatus{{
						Name: "net", State: "up", SPIIn: "c1234567", SPIOut: "d89abcde", Proposal: "aes256gcm16",
						Local: []string{"10.104.0.0/24"}, Remote: []string{"10.103.0.0/24"}, MTU: 1426,
						PacketsIn: 12345, BytesIn: 12_345_678, PacketsOut: 7, BytesOut: 999,
						DropsIn: map[string]uint64{"replayed": 2, "none": 0}, Born: now.Add(-30 * time.Minute), RekeyAt: now.Add(29 * time.Minute),
					}},
				}},
				Children: []gateway.ChildStatus{
					{Name: "net", Up: true, Wanted: true, BytesIn: 20_000_000, PacketsIn: 20000, BytesOut: 999, PacketsOut: 7, Local: []string{"10.104.0.0/24"}, Remote: []string{"10.103.0.0/24"}},
					{Name: "backup", Held: true, Local: []string{"10.104.0.0/24"}, Remote: []string{"10.9.0.0/16", "10.10.0.0/16"}},
				},
				LastFailure: &gateway.Failure{Time: now.Add(-76 * time.Minute), Kind: "failed", Text: "the peer does not answer any more"},
			},
			{
				Name: "branch", Peer: "branch.example.com", LocalID: "@foo", RemoteID: "@branch",
				Children: []gateway.ChildStatus{{
					Name: "net", Wanted: true, Attempts: 3, NextTry: now.Add(40 * time.Second), DroppedNoSA: 12,
					Local: []string{"10.104.0.0/24"}, Remote: []string{"10.105.0.0/24"},
				}},
				LastFailure: &gateway.Failure{
					Time: now.Add(-20 * time.Second), Kind: "failed", Text: "the peer refuses our secret",
					Remedy: "compare the secret on both sides",
				},
			},
			{
				Name: "waits", RemoteID: "*.example.com",
				Children: []gateway.ChildStatus{{Name: "net", Local: []string{"10.104.0.0/24"}, Remote: []string{"10.106.0.0/24"}}},
			},
		},
		Strangers: []gateway.IKEStatus{{State: "waiting for IKE_AUTH", SPIi: "0000000000000001", Local: "172.16.0.1:500", Remote: "198.51.100.7:500", NAT: "no NAT"}},
		Refused: []gateway.Failure{{
			Time: now.Add(-26 * time.Hour), Kind: "failed", Peer: "198.51.100.9:500",
			Text: "no connection is configured for this pair of addresses", Remedy: "compare local_addrs and remote_addrs with the addresses of the request",
		}},
	}
	for name, f := range map[string]statusFlags{"status": {}, "status-watch": {watch: true}} {
		var out bytes.Buffer
		if err := f.print(&out, &status, nil); err != nil {
			t.Fatal(err)
		}
		golden(t, filepath.Join("testdata", name+".golden"), out.Bytes())
	}
}

func TestUnits(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0 B", 999: "999 B", 1000: "1.0 kB", 999_949: "999.9 kB", 999_950: "1.0 MB", 1 << 63: "9.2 EB", 1<<64 - 1: "18.4 EB",
	} {
		if got := size(n); got != want {
			t.Errorf("%d bytes are %q, want %q", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{
		-time.Second: "0s", 0: "0s", 59*time.Second + 600*time.Millisecond: "1m 0s", 61 * time.Second: "1m 1s",
		3*time.Hour + 59*time.Second: "3h 0m", 25 * time.Hour: "1d 1h",
	} {
		if got := span(d); got != want {
			t.Errorf("%d ns are %q, want %q", d, got, want)
		}
	}
}
