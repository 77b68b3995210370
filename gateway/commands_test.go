package gateway

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/esp"
	"github.com/culvert-vpn/culvert/vici"
	"github.com/culvert-vpn/culvert/vici/client"
)

// speak connects to the control socket.
func speak(t *testing.T, c Client) *client.Conn {
	t.Helper()
	conn, err := client.Dial(t.Context(), c.Socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// say gives a command, which has to be answered.
func say(t *testing.T, conn *client.Conn, command string, args *vici.Message) *vici.Message {
	t.Helper()
	answer, err := conn.Call(t.Context(), command, args)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// list gives a command that answers by events.
func list(t *testing.T, conn *client.Conn, command, event string, args *vici.Message) (all []*vici.Message) {
	t.Helper()
	if _, err := conn.Stream(t.Context(), command, event, args, func(m *vici.Message) { all = append(all, m) }); err != nil {
		t.Fatal(err)
	}
	return all
}

// theSA is the only IKE SA, with its only child.
func theSA(t *testing.T, conn *client.Conn) (sa, child *vici.Message) {
	t.Helper()
	all := list(t, conn, "list-sas", "list-sa", nil)
	if len(all) != 1 {
		t.Fatalf("%d IKE SAs: %v", len(all), all)
	}
	sa = all[0].Sub("to-a")
	children := sa.Sub("child-sas")
	if children == nil || len(children.Elements) != 1 {
		t.Fatalf("the children of %v", all[0])
	}
	return sa, children.Elements[0].Section
}

// has reports whether a message has values, given as name and value in turn; the value * is any.
func has(t *testing.T, what string, m *vici.Message, pairs ...string) {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		got, ok := m.Bytes(pairs[i])
		if !ok || pairs[i+1] != "*" && string(got) != pairs[i+1] {
			t.Errorf("%s: %s is %q (%v), want %q", what, pairs[i], got, ok, pairs[i+1])
		}
	}
}

// An SA is brought up, told of, rekeyed and closed by commands, and who has registered hears of it.
func TestCommands(t *testing.T) {
	a, b, c := controlled(t, replace(confB, "start_action = start", "start_action = none"))
	defer finish(t, b, a)
	conn := speak(t, c)

	ctx, cancel := context.WithCancel(t.Context())
	heard := make(chan string, 64)
	ready, done := make(chan struct{}), make(chan struct{})
	listener := speak(t, c)
	go func() {
		defer close(done)
		_ = listener.Listen(ctx, func() { close(ready) }, func(event string, m *vici.Message) { heard <- event + m.String() },
			"ike-updown", "child-updown", "ike-rekey", "child-rekey")
	}()
	<-ready
	defer func() { cancel(); <-done }()
	hears := func(wants ...string) {
		t.Helper()
		for _, want := range wants {
			select {
			case got := <-heard:
				if !strings.HasPrefix(got, want) {
					t.Errorf("heard %.60s, want %s", got, want)
				}
			case <-time.After(time.Minute):
				t.Fatalf("nothing is heard of %s", want)
			}
		}
	}

	var log []string
	answer, err := conn.Stream(t.Context(), "initiate", "control-log", new(vici.Message).Set("child", "net"), func(m *vici.Message) { log = append(log, m.Text("group")+" "+m.Text("msg")) })
	if err != nil || client.Failed(answer) != nil || len(log) < 3 || !strings.HasPrefix(log[len(log)-1], "CHD to-a child net child-up") {
		t.Fatalf("initiate: %v, %v, %q", answer, err, log)
	}
	hears("ike-updown{up to-a{uniqueid", "child-updown{up to-a{uniqueid")

	sa, child := theSA(t, conn)
	has(t, "the IKE SA", sa, "uniqueid", "*", "version", "2", "state", "ESTABLISHED", "local-host", "172.16.0.1", "local-port", "4500", "local-id", "foo",
		"remote-host", "203.0.113.1", "remote-port", "4500", "initiator", "yes", "initiator-spi", "*", "responder-spi", "*", "nat-local", "yes",
		"nat-any", "yes", "encr-alg", "*", "prf-alg", "*", "dh-group", "*", "established", "*", "rekey-time", "*")
	has(t, "the Child SA", child, "name", "net", "uniqueid", "*", "reqid", "1", "state", "INSTALLED", "mode", "TUNNEL", "protocol", "ESP", "encap", "yes",
		"spi-in", "*", "spi-out", "*", "encr-alg", "*", "bytes-in", "0", "packets-in", "0", "bytes-out", "0", "packets-out", "0",
		"rekey-time", "*", "life-time", "*", "install-time", "*")
	if local, _ := child.Items("local-ts"); !slices.Equal(local, []string{"10.104.0.0/24"}) {
		t.Errorf("local-ts is %v", local)
	}
	if sa.Elements[len(sa.Elements)-1].Name != "child-sas" {
		t.Errorf("the children do not come last: %v", sa)
	}
	for args, want := range map[string]int{"ike=to-a": 1, "ike=other": 0, "ike-id=" + sa.Text("uniqueid"): 1, "ike-id=999999": 0} {
		name, value, _ := strings.Cut(args, "=")
		if got := list(t, conn, "list-sas", "list-sa", new(vici.Message).Set(name, value)); len(got) != want {
			t.Errorf("list-sas of %s: %d", args, len(got))
		}
	}

	// Rekeying by number. The new SAs have other numbers, and the child the same reqid.
	if answer := say(t, conn, "rekey", new(vici.Message).Set("child-id", child.Text("uniqueid"))); client.Failed(answer) != nil || answer.Text("matches") != "1" {
		t.Errorf("rekey of the child: %v", answer)
	}
	hears("child-rekey{to-a{uniqueid")
	if answer := say(t, conn, "rekey", new(vici.Message).Set("ike", "to-a")); client.Failed(answer) != nil || answer.Text("matches") != "1" {
		t.Errorf("rekey of the IKE SA: %v", answer)
	}
	hears("ike-rekey{to-a{old{uniqueid")
	var next *vici.Message
	for _, m := range list(t, conn, "list-sas", "list-sa", nil) {
		if m.Sub("to-a").Text("state") == "ESTABLISHED" {
			next = m.Sub("to-a")
		}
	}
	if next == nil || next.Text("uniqueid") == sa.Text("uniqueid") {
		t.Fatalf("after rekeying the IKE SA is %v", next)
	}

	counters := say(t, conn, "get-counters", new(vici.Message).Set("name", "to-a")).Sub("counters").Sub("to-a")
	has(t, "the counters", counters, "ike-rekey-init", "1", "child-rekey", "1", "ike-init-out-req", "1", "ike-init-in-resp", "1", "ike-auth-out-req", "1",
		"ike-auth-in-resp", "1", "create-child-out-req", "2", "create-child-in-resp", "2", "invalid", "0", "invalid-spi", "0")
	if client.Failed(say(t, conn, "reset-counters", new(vici.Message).Set("name", "to-a"))) != nil ||
		client.Failed(say(t, conn, "get-counters", new(vici.Message).Set("name", "to-a"))) == nil {
		t.Error("counters that were reset are there")
	}
	has(t, "all counters", say(t, conn, "get-counters", nil).Sub("counters").Sub(""), "ike-init-out-req", "1")

	if answer := say(t, conn, "terminate", new(vici.Message).Set("ike-id", next.Text("uniqueid"))); client.Failed(answer) != nil || answer.Text("matches") != "1" || answer.Text("terminated") != "1" {
		t.Errorf("terminate: %v", answer)
	}
	hears("child-updown{to-a{uniqueid", "ike-updown{to-a{uniqueid")
	if answer := say(t, conn, "terminate", new(vici.Message).Set("ike", "to-a")); client.Failed(answer) == nil {
		t.Errorf("terminate of nothing: %v", answer)
	}
	for _, command := range []string{"initiate", "terminate", "rekey", "install", "uninstall", "redirect"} {
		if answer := say(t, conn, command, nil); client.Failed(answer) == nil {
			t.Errorf("%s of nothing succeeds", command)
		}
	}
	for _, args := range []*vici.Message{new(vici.Message).Set("child", "no"), new(vici.Message).Set("ike", "no"),
		new(vici.Message).Set("child", "net").Set("timeout", "soon"), new(vici.Message).Set("child", "net").Set("my-host", "192.0.2.1")} {
		if answer := say(t, conn, "initiate", args); client.Failed(answer) == nil {
			t.Errorf("initiate of %v succeeds", args)
		}
	}
}

// What tools ask of any daemon is answered.
func TestQueries(t *testing.T) {
	a, b, c := controlled(t, replace(confB, "start_action = start", "start_action = trap"))
	defer finish(t, b, a)
	conn := speak(t, c)
	has(t, "version", say(t, conn, "version", nil), "daemon", "culvert", "version", "*", "sysname", "*", "release", "*", "machine", "*")
	stats := say(t, conn, "stats", nil)
	has(t, "stats", stats, "scheduled", "*")
	has(t, "uptime", stats.Sub("uptime"), "running", "*", "since", "*")
	has(t, "workers", stats.Sub("workers"), "total", "*", "idle", "*")
	has(t, "active", stats.Sub("workers").Sub("active"), "critical", "0", "high", "0", "medium", "*", "low", "0")
	has(t, "queues", stats.Sub("queues"), "critical", "0", "high", "0", "medium", "0", "low", "0")
	has(t, "ikesas", stats.Sub("ikesas"), "total", "0", "half-open", "0")
	algorithms := say(t, conn, "get-algorithms", nil)
	has(t, "aead", algorithms.Sub("aead"), "AES_GCM_16", ours, "CHACHA20_POLY1305", ours)
	has(t, "encryption", algorithms.Sub("encryption"), "AES_CBC", ours)
	has(t, "ke", algorithms.Sub("ke"), "CURVE_25519", ours, "ECP_256_BP", ours, "MODP_2048", ours)
	has(t, "integrity", algorithms.Sub("integrity"), "HMAC_SHA2_256_128", ours)

	conns := list(t, conn, "list-conns", "list-conn", nil)
	if len(conns) != 1 {
		t.Fatalf("connections: %v", conns)
	}
	m := conns[0].Sub("to-a")
	has(t, "the connection", m, "version", "IKEv2", "reauth_time", "0", "rekey_time", "14400", "unique", "UNIQUE_NO")
	has(t, "local", m.Sub("local-1"), "class", "pre-shared key", "id", "foo")
	has(t, "the child", m.Sub("children").Sub("net"), "mode", "TUNNEL", "rekey_time", "3600", "rekey_bytes", "0", "rekey_packets", "0", "dpd_action", "*", "close_action", "none")

	policies := func() int {
		return len(list(t, conn, "list-policies", "list-policy", new(vici.Message).Set("trap", "yes")))
	}
	if n := policies(); n != 1 {
		t.Errorf("%d policies wait for a packet", n)
	}
	net := new(vici.Message).Set("child", "net")
	if answer := say(t, conn, "uninstall", net); client.Failed(answer) != nil || policies() != 0 {
		t.Errorf("uninstall: %v, and %d are left", client.Failed(answer), policies())
	}
	if answer := say(t, conn, "install", net); client.Failed(answer) != nil || policies() != 1 {
		t.Errorf("install: %v, and there are %d", client.Failed(answer), policies())
	}
	for command, event := range map[string]string{"list-certs": "list-cert", "list-authorities": "list-authority"} {
		if got := list(t, conn, command, event, nil); len(got) != 0 {
			t.Errorf("%s: %v", command, got)
		}
	}
	if pools := say(t, conn, "get-pools", nil); len(pools.Elements) != 0 {
		t.Errorf("pools: %v", pools)
	}
}

// Who has registered for the log hears its lines, whatever the daemon itself writes.
func TestLogEvents(t *testing.T) {
	a, b, c := controlled(t, replace(confB, "start_action = start", "start_action = none"))
	defer finish(t, b, a)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	listener := speak(t, c)
	ready, done := make(chan struct{}), make(chan struct{})
	lines := make(chan *vici.Message, 64)
	go func() {
		defer close(done)
		_ = listener.Listen(ctx, func() { close(ready) }, func(_ string, m *vici.Message) { lines <- m }, "log")
	}()
	<-ready
	if answer := say(t, speak(t, c), "initiate", new(vici.Message).Set("child", "net")); client.Failed(answer) != nil {
		t.Fatal(answer)
	}
	for _, want := range [][2]string{{"IKE", "established connection=to-a"}, {"CHD", "child-up connection=to-a child=net"}} {
		m := <-lines
		for !strings.HasPrefix(m.Text("msg"), want[1]) {
			m = <-lines
		}
		has(t, want[1], m, "group", want[0], "level", "1", "thread", "1", "ikesa-name", "to-a", "ikesa-uniqueid", "1")
	}
	cancel()
	<-done
}

// BenchmarkSeeUse is what it costs the control loop to look, once in a second, when each of ten thousand Child SAs was used last.
func BenchmarkSeeUse(b *testing.B) {
	children := make(map[uint32]*child)
	for spi := range uint32(10000) {
		children[spi] = &child{in: &inboundSA{esp: esp.Inbound{}}, out: &outboundSA{esp: esp.Outbound{}}}
	}
	now := time.Now()
	for b.Loop() {
		for _, ch := range children {
			ch.seeUse(now)
		}
	}
}
