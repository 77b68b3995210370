package gateway

import (
	"context"
	"strings"
	"testing"
	"time"

	govici "github.com/strongswan/govici/vici"
)

// What the Prometheus exporters for charon (torilabs/ipsec-prometheus-exporter, sergeymakinen/ipsec_exporter) and the op-mode scripts of
// VyOS read, in the types that they read it as.
type (
	readSA struct {
		UniqueID     uint32               `vici:"uniqueid"`
		Version      uint8                `vici:"version"`
		State        string               `vici:"state"`
		LocalHost    string               `vici:"local-host"`
		LocalPort    int                  `vici:"local-port"`
		LocalID      string               `vici:"local-id"`
		RemoteHost   string               `vici:"remote-host"`
		RemotePort   int                  `vici:"remote-port"`
		RemoteID     string               `vici:"remote-id"`
		Initiator    string               `vici:"initiator"`
		InitiatorSPI string               `vici:"initiator-spi"`
		ResponderSPI string               `vici:"responder-spi"`
		NATLocal     string               `vici:"nat-local"`
		NATRemote    string               `vici:"nat-remote"`
		NATAny       string               `vici:"nat-any"`
		EncrAlg      string               `vici:"encr-alg"`
		EncrKeysize  int                  `vici:"encr-keysize"`
		PRFAlg       string               `vici:"prf-alg"`
		DHGroup      string               `vici:"dh-group"`
		Established  *int64               `vici:"established"`
		RekeyTime    int64                `vici:"rekey-time"`
		Children     map[string]readChild `vici:"child-sas"`
	}
	readChild struct {
		Name        string   `vici:"name"`
		UniqueID    uint32   `vici:"uniqueid"`
		ReqID       uint32   `vici:"reqid"`
		State       string   `vici:"state"`
		Mode        string   `vici:"mode"`
		Protocol    string   `vici:"protocol"`
		Encap       string   `vici:"encap"`
		EncrAlg     string   `vici:"encr-alg"`
		EncrKeysize int      `vici:"encr-keysize"`
		BytesIn     *uint64  `vici:"bytes-in"`
		PacketsIn   *uint64  `vici:"packets-in"`
		BytesOut    *uint64  `vici:"bytes-out"`
		PacketsOut  *uint64  `vici:"packets-out"`
		RekeyTime   int64    `vici:"rekey-time"`
		LifeTime    int64    `vici:"life-time"`
		InstallTime *int64   `vici:"install-time"`
		LocalTS     []string `vici:"local-ts"`
		RemoteTS    []string `vici:"remote-ts"`
	}
	readConn struct {
		LocalAddrs  []string                 `vici:"local_addrs"`
		RemoteAddrs []string                 `vici:"remote_addrs"`
		LocalPort   int                      `vici:"local_port"`
		RemotePort  int                      `vici:"remote_port"`
		Version     string                   `vici:"version"`
		ReauthTime  *int64                   `vici:"reauth_time"`
		RekeyTime   int64                    `vici:"rekey_time"`
		Children    map[string]readConnChild `vici:"children"`
	}
	readConnChild struct {
		Mode         string   `vici:"mode"`
		RekeyTime    int64    `vici:"rekey_time"`
		RekeyBytes   *int64   `vici:"rekey_bytes"`
		RekeyPackets *int64   `vici:"rekey_packets"`
		LocalTS      []string `vici:"local-ts"`
		RemoteTS     []string `vici:"remote-ts"`
	}
	readStats struct {
		Uptime struct {
			Since string `vici:"since"`
		} `vici:"uptime"`
		Workers struct {
			Total  uint64 `vici:"total"`
			Idle   uint64 `vici:"idle"`
			Active struct {
				Critical, High, Medium, Low *uint64
			} `vici:"active"`
		} `vici:"workers"`
		Scheduled *uint64 `vici:"scheduled"`
		IKESAs    struct {
			Total    uint64  `vici:"total"`
			HalfOpen *uint64 `vici:"half-open"`
		} `vici:"ikesas"`
	}
)

// TestGovici has strongSwan's own client for Go give commands, read what exporters and scripts read, and listen.
func TestGovici(t *testing.T) {
	a, b, c := controlled(t, replace(confB, "start_action = start", "start_action = none"))
	defer finish(t, b, a)
	session, err := govici.NewSession(govici.WithSocketPath(c.Socket))
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	events := make(chan govici.Event, 16)
	session.NotifyEvents(events)
	if err := session.Subscribe("ike-updown", "child-updown"); err != nil {
		t.Fatal(err)
	}
	if err := session.Subscribe("no-such-event"); err == nil {
		t.Error("an event that there is not can be subscribed to")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	do := func(command string, pairs ...string) *govici.Message {
		t.Helper()
		in := govici.NewMessage()
		for i := 0; i < len(pairs); i += 2 {
			if err := in.Set(pairs[i], pairs[i+1]); err != nil {
				t.Fatal(err)
			}
		}
		out, err := session.Call(ctx, command, in)
		if err != nil {
			t.Fatalf("%s: %v", command, err)
		}
		return out
	}
	read := func(m *govici.Message, into any) {
		t.Helper()
		if err := govici.UnmarshalMessage(m, into); err != nil {
			t.Fatalf("%v: %v", m, err)
		}
	}
	do("initiate", "child", "net", "timeout", "30000")
	for _, want := range []string{"ike-updown", "child-updown"} {
		select {
		case ev := <-events:
			if ev.Name != want || ev.Message.Get("up") != "yes" {
				t.Errorf("%s: %v", ev.Name, ev.Message)
			}
		case <-ctx.Done():
			t.Fatalf("no %s came", want)
		}
	}

	var id string
	for m, err := range session.CallStreaming(ctx, "list-sas", "list-sa", nil) {
		if err != nil {
			t.Fatal(err)
		}
		sas := make(map[string]readSA)
		read(m, sas)
		sa, ok := sas["to-a"]
		child := sa.Children["net-1"]
		if !ok || sa.UniqueID == 0 || sa.Version != 2 || sa.State != "ESTABLISHED" || sa.LocalHost == "" || sa.LocalPort != 4500 || sa.LocalID != "foo" ||
			sa.RemoteHost == "" || sa.RemotePort != 4500 || sa.RemoteID == "" || sa.Initiator != "yes" || len(sa.InitiatorSPI) != 16 ||
			len(sa.ResponderSPI) != 16 || sa.NATLocal != "yes" || sa.NATAny != "yes" || sa.EncrAlg == "" || sa.EncrKeysize == 0 || sa.PRFAlg == "" ||
			sa.DHGroup == "" || sa.Established == nil || sa.RekeyTime == 0 {
			t.Errorf("the IKE SA: %+v", sa)
		}
		if child.Name != "net" || child.UniqueID != 1 || child.ReqID == 0 || child.State != "INSTALLED" || child.Mode != "TUNNEL" || child.Protocol != "ESP" ||
			child.Encap != "yes" || child.EncrAlg == "" || child.EncrKeysize == 0 || child.BytesIn == nil || child.PacketsIn == nil || child.BytesOut == nil ||
			child.PacketsOut == nil || child.RekeyTime == 0 || child.LifeTime == 0 || child.InstallTime == nil || len(child.LocalTS) != 1 || len(child.RemoteTS) != 1 {
			t.Errorf("the Child SA: %+v", child)
		}
		id, _ = m.Get("to-a").(*govici.Message).Get("uniqueid").(string)
	}
	for m, err := range session.CallStreaming(ctx, "list-conns", "list-conn", nil) {
		if err != nil {
			t.Fatal(err)
		}
		conns := make(map[string]readConn)
		read(m, conns)
		conn := conns["to-a"]
		child := conn.Children["net"]
		if len(conn.LocalAddrs) == 0 || len(conn.RemoteAddrs) == 0 || conn.LocalPort != 500 || conn.RemotePort != 500 || conn.Version != "IKEv2" ||
			conn.ReauthTime == nil || conn.RekeyTime == 0 || child.Mode != "TUNNEL" || child.RekeyTime == 0 || child.RekeyBytes == nil ||
			child.RekeyPackets == nil || len(child.LocalTS) != 1 || len(child.RemoteTS) != 1 {
			t.Errorf("the connection: %+v", conn)
		}
	}
	var stats readStats
	read(do("stats"), &stats)
	if stats.Uptime.Since == "" || stats.Workers.Total == 0 || stats.Scheduled == nil || stats.IKESAs.Total != 1 || stats.IKESAs.HalfOpen == nil {
		t.Errorf("stats: %+v", stats)
	}
	pools := make(map[string]struct{})
	read(do("get-pools"), pools)

	// As VyOS resets a peer.
	do("terminate", "ike-id", id, "timeout", "-1")
	if _, err := session.Call(ctx, "terminate", govici.NewMessage()); err == nil || !strings.Contains(err.Error(), "terminate wants") {
		t.Errorf("terminate of nothing: %v", err)
	}
}
