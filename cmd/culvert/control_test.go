package main

import (
	"context"
	"encoding/json"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/culvert-vpn/culvert/config"
	"github.com/culvert-vpn/culvert/gateway"
	"github.com/culvert-vpn/culvert/internal/demo"
	"github.com/culvert-vpn/culvert/tun/tuntest"
	"github.com/culvert-vpn/culvert/udp"
	"github.com/culvert-vpn/culvert/udp/udptest"
)

// startGateway runs a gateway on a network in memory, and returns its control socket.
func startGateway(t *testing.T, network *udptest.Network, addr, conf string) string {
	t.Helper()
	c, _, err := config.Parse("test.conf", []byte(conf), config.Options{})
	if err != nil {
		t.Fatal(err)
	}
	host := network.Host(netip.MustParseAddr(addr))
	listen := func(port uint16) udp.Conn {
		t.Helper()
		conn, err := host.Listen(netip.AddrPortFrom(netip.MustParseAddr(addr), port))
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
	socket := filepath.Join(t.TempDir(), "control")
	ready := make(chan struct{})
	g, err := gateway.New(*c, gateway.WithTUN(tuntest.NewQueue()), gateway.WithControl(socket),
		gateway.WithConns(gateway.Conns{IKE: []udp.Conn{listen(500)}, NATT: []udp.Conn{listen(4500)}}),
		gateway.WithReady(func() { close(ready) }))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	over := make(chan error, 1)
	go func() { over <- g.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-over; err != nil {
			t.Errorf("the gateway ends with %v", err)
		}
	})
	select {
	case <-ready:
	case err := <-over:
		over <- err
		t.Fatalf("the gateway does not start: %v", err)
	}
	return socket
}

// TestControl takes a tunnel through its life with the commands.
func TestControl(t *testing.T) {
	network := udptest.NewNetwork()
	startGateway(t, network, "203.0.113.1", demo.ConfigA)
	socket := startGateway(t, network, "172.16.0.1", demo.ConfigB)
	for _, step := range []struct {
		line string
		code int
		says []string
	}{
		{"status", exitFine, []string{"0 of 1 up", "site-a", "@foo <-> 203.0.113.1"}},
		{"rekey site-a", exitFailed, []string{"rekey site-a: "}},
		{"up nowhere", exitFailed, []string{`there is no connection "nowhere"`}},
		{"up site-a --child nothing", exitFailed, []string{`has no child "nothing"`}},
		{"up site-a --timeout 30s", exitFine, []string{"established: @foo <-> 203.0.113.1", "child-up net", "site-a: up and running"}},
		{"status", exitFine, []string{"1 of 1 up", "we called", "owner 203.0.113.1 matches the peer exactly", "172.16.0.1:4500 <-> 203.0.113.1:4500"}},
		{"rekey site-a", exitFine, []string{"site-a: has new keys"}},
		{"rekey site-a --child net", exitFine, []string{"site-a, child net: has new keys"}},
		{"down site-a", exitFine, []string{"site-a: down"}},
		{"status", exitFine, []string{"0 of 1 up", "down, by order"}},
	} {
		code, stdout, stderr := culvert(append(strings.Fields(step.line), "--control", socket)...)
		if code != step.code {
			t.Errorf("culvert %s: exit code %d, want %d", step.line, code, step.code)
		}
		for _, says := range step.says {
			if !strings.Contains(stdout+stderr, says) {
				t.Errorf("culvert %s does not say %q, but\n%s%s", step.line, says, stdout, stderr)
			}
		}
	}
}

func TestStatusJSON(t *testing.T) {
	socket := startGateway(t, udptest.NewNetwork(), "172.16.0.1", demo.ConfigB)
	code, stdout, stderr := culvert("status", "--json", "--control", socket)
	var status gateway.Status
	if err := json.Unmarshal([]byte(stdout), &status); err != nil || code != exitFine {
		t.Fatalf("exit code %d, %v: %s%s", code, err, stdout, stderr)
	}
	if len(status.Connections) != 1 || status.Connections[0].Name != "site-a" || status.Connections[0].Up {
		t.Errorf("%+v", status.Connections)
	}
	if strings.Contains(stdout, "qwerty") {
		t.Error("the secret is printed")
	}
	if names := connectionNames(socket); len(names) != 1 || names[0] != "site-a" {
		t.Errorf("completion offers %v", names)
	}
}

// TestFailureHasRemedy calls a peer that knows another secret.
func TestFailureHasRemedy(t *testing.T) {
	network := udptest.NewNetwork()
	startGateway(t, network, "203.0.113.1", strings.ReplaceAll(demo.ConfigA, "qwerty", "azerty"))
	socket := startGateway(t, network, "172.16.0.1", demo.ConfigB)
	code, stdout, stderr := culvert("up", "site-a", "--control", socket)
	if code != exitFailed || !strings.Contains(stderr, "culvert: up site-a: ") || !strings.Contains(stderr, "\nremedy: ") {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
	code, stdout, _ = culvert("status", "--control", socket)
	if code != exitFine || !strings.Contains(stdout, "FAILURE") || !strings.Contains(stdout, "remedy: ") {
		t.Errorf("exit code %d\n%s", code, stdout)
	}
}
