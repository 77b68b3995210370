package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/udp/udptest"
	"github.com/culvert-vpn/culvert/vici"
	"github.com/culvert-vpn/culvert/vici/client"
)

// controlled runs both ends of the reference case in real time, B with a control socket.
func controlled(t *testing.T, confB string) (a, b *site, c Client) {
	t.Helper()
	dir, err := os.MkdirTemp("", "culvert") // t.TempDir may be too long for a socket's name
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	c.Socket = filepath.Join(dir, "run", "control")
	box := &nat{public: public}
	network := udptest.NewNetwork()
	network.Hook(box.hook)
	ready := make(chan struct{}, 2)
	signal := WithReady(func() { ready <- struct{}{} })
	a = start(t, network, addrA, confA, signal)
	b = start(t, network, addrB, confB, signal, WithControl(c.Socket))
	<-ready
	<-ready
	return a, b, c
}

// Cases: BUG-23.
func TestControlSocket(t *testing.T) {
	const empty = "  empty {\n local { auth = psk\n id = @foo }\n remote { auth = psk }\n }\n}\nsecrets {"
	a, b, c := controlled(t, replace(confB, "start_action = start", "start_action = none", "}\nsecrets {", empty))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()

	if info, err := os.Stat(c.Socket); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket's mode: %v, %v", info, err)
	}
	var kinds []string
	each := func(r Reply) {
		if r.Event != nil {
			kinds = append(kinds, r.Event.Kind)
		}
	}
	if err := c.Do(ctx, Request{Cmd: "up", Conn: "to-a", Child: "net"}, each); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(kinds, " "); got != "initiating established child-up" {
		t.Errorf("events of up: %s", got)
	}
	s, err := c.Status(ctx)
	if err != nil || !s.Connections[0].Up || !s.Connections[0].Children[0].Up || len(s.Connections[0].IKE) != 1 {
		t.Errorf("status: %+v, %v", s, err)
	}
	if text, err := json.Marshal(s); err != nil || bytes.Contains(text, []byte(`"children":null`)) {
		t.Errorf("a list without elements is no list: %s, %v", text, err)
	}
	for _, r := range []Request{{Cmd: "rekey", Conn: "to-a", Child: "net"}, {Cmd: "rekey", Conn: "to-a"}, {Cmd: "down", Conn: "to-a"}} {
		if err := c.Do(ctx, r, nil); err != nil {
			t.Errorf("%s %s %s: %v", r.Cmd, r.Conn, r.Child, err)
		}
	}
	if s, err := c.Status(ctx); err != nil || s.Connections[0].Up || !s.Connections[0].Children[0].Held {
		t.Errorf("status after down: %+v, %v", s, err)
	}
	version := ""
	if err := c.Do(ctx, Request{Cmd: "version"}, func(r Reply) { version = r.Version }); err != nil || version == "" {
		t.Errorf("version %q, %v", version, err)
	}
	for r, want := range map[Request]string{
		{Cmd: "sing"}:              `no command "sing"`,
		{Cmd: "up"}:                `no connection ""`,
		{Cmd: "up", Conn: "empty"}: "nothing to bring up",
	} {
		if err := c.Do(ctx, r, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", r, err)
		}
	}

	// A second gateway keeps its hands off.
	second, err := New(b.g.cfg, WithTUN(brokenQueue{}), WithConns(Conns{}), WithControl(c.Socket))
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Run(ctx); err == nil || !strings.Contains(err.Error(), "another culvert runs already") {
		t.Errorf("the second gateway: %v", err)
	}
	finish(t, b, a)
	if _, err := os.Stat(c.Socket); !os.IsNotExist(err) {
		t.Errorf("the socket is left: %v", err)
	}
	if _, err := c.Status(ctx); !errors.Is(err, ErrNotRunning) {
		t.Errorf("status without a gateway: %v", err)
	}
}

// Whatever a client sends, the next one is served, and ending does not wait for those who say nothing.
//
// Cases: BUG-23.
func TestControlSocketAbuse(t *testing.T) {
	a, b, c := controlled(t, confB)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, sent := range []string{
		"", "\n", `{"cmd":"status"}` + "\n", "\x00\x00\x00", "\x00\x00\x00\x00", "\xff\xff\xff\xff", "\x00\x00\x00\x05\x00",
		"\x00\x00\x00\x01\x63", "\x00\x00\x00\x02\x01\x02", "\x00\x00\x00\x01\x05", // what only a daemon sends
		"\x00\x00\x00\x12\x00\x0eculvert-status\x01\x01", "\x00\x08\x00\x00" + strings.Repeat("\x00", 1000),
	} {
		conn := dial(t, c)
		_, _ = io.WriteString(conn, sent)
		_ = conn.(*net.UnixConn).CloseWrite()
		if answer, _ := io.ReadAll(conn); len(answer) > 0 {
			t.Errorf("%.20q is answered by %q", sent, answer)
		}
		conn.Close()
	}
	for name, want := range map[string]string{"version": "\x02", "culvert-": "\x01", "culvert-sing": "\x01", "": "\x02"} {
		conn := dial(t, c)
		p, _ := vici.Packet{Type: vici.Request, Name: "no-such-" + name}.Append(nil)
		if strings.HasPrefix(name, ownPrefix) {
			p, _ = vici.Packet{Type: vici.Request, Name: name, Message: new(vici.Message).Set("json", "no JSON")}.Append(nil)
		}
		_, _ = conn.Write(p)
		answer := make([]byte, 5)
		if _, err := io.ReadFull(conn, answer); err != nil || string(answer[4:]) != want {
			t.Errorf("command %q is answered by %q, %v", name, answer, err)
		}
		conn.Close()
	}
	for range maxClients {
		dial(t, c)
	}
	if s, err := c.Status(ctx); err != nil || len(s.Connections) != 1 {
		t.Errorf("status while all places are taken by clients that say nothing: %+v, %v", s, err)
	}
	for range maxClients {
		dial(t, c)
	}
	began := time.Now()
	finish(t, b, a)
	if took := time.Since(began); took > requestTime {
		t.Errorf("ending took %v", took)
	}
	if err := c.Do(ctx, Request{Cmd: "status"}, nil); err == nil {
		t.Error("an ended gateway answers")
	}
}

// dial connects to the control socket, to say something that no client would.
func dial(t *testing.T, c Client) net.Conn {
	t.Helper()
	conn, err := net.Dial("unix", c.Socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// up asks for a connection and does not wait for an answer.
func up(t *testing.T, c Client) net.Conn {
	t.Helper()
	conn := dial(t, c)
	b, _ := vici.Packet{Type: vici.Register, Name: replyEvent}.Append(nil)
	b, _ = vici.Packet{Type: vici.Request, Name: "culvert-up", Message: new(vici.Message).Set("json", `{"conn":"to-a"}`)}.Append(b)
	if _, err := conn.Write(b); err != nil {
		t.Fatal(err)
	}
	return conn
}

// Clients that give up waiting do not keep others from being served.
func TestControlSocketAbandoned(t *testing.T) {
	a, b, c := controlled(t, replace(confB, "start_action = start", "start_action = none"))
	finish(t, a) // so that nothing comes up
	for i := range maxWaiting {
		conn := up(t, c)
		if i == 0 { // its event is the last one: nothing more is written to anybody
			if _, err := io.ReadFull(conn, make([]byte, 6)); err != nil { // the registration is confirmed, and an event begins
				t.Fatal(err)
			}
		}
		conn.Close()
	}
	ctx, cancel := context.WithTimeout(t.Context(), DefaultTimeout/2)
	defer cancel()
	insist(t, ctx, c, Request{Cmd: "down", Conn: "to-a"})
	finish(t, b)
}

// insist makes a request until the others who wait are gone.
func insist(t *testing.T, ctx context.Context, c Client, r Request) {
	t.Helper()
	for {
		err := c.Do(ctx, r, nil)
		if err == nil {
			return
		}
		if !strings.Contains(err.Error(), "clients wait already") { // until it is noticed that they are gone
			t.Fatalf("%s: %v", r.Cmd, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// However many clients wait for a peer that does not answer, who wants to know the state does not wait for them. One too many is
// refused.
func TestControlSocketWaiters(t *testing.T) {
	a, b, c := controlled(t, replace(confB, "start_action = start", "start_action = none"))
	finish(t, a) // so that nothing comes up
	ctx, cancel := context.WithTimeout(t.Context(), DefaultTimeout/2)
	defer cancel()
	var waiting []net.Conn
	for range maxWaiting {
		conn := up(t, c)
		if _, err := io.ReadFull(conn, make([]byte, 5)); err != nil { // registered
			t.Fatal(err)
		}
		waiting = append(waiting, conn)
	}
	var server *server
	if err := b.g.do(ctx, func(c *control) { server = c.server }); err != nil {
		t.Fatal(err)
	}
	for server.waiting.Load() < maxWaiting {
		time.Sleep(time.Millisecond)
	}
	if err := c.Do(ctx, Request{Cmd: "up", Conn: "to-a"}, nil); err == nil || !strings.Contains(err.Error(), "clients wait already") {
		t.Errorf("one too many: %v", err)
	}
	if s, err := c.Status(ctx); err != nil || s.Connections[0].Name != "to-a" {
		t.Errorf("status while all places are taken: %+v, %v", s, err)
	}
	for _, conn := range waiting {
		conn.Close()
	}
	insist(t, ctx, c, Request{Cmd: "down", Conn: "to-a"})
	finish(t, b)
}

// A client that only sends no more waits on.
func TestControlSocketHalfClosed(t *testing.T) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.DialUnix("unix", nil, l.Addr().(*net.UnixAddr))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if hungUp(conn) {
		t.Error("a client that is there has gone away")
	}
	_ = client.CloseWrite()
	if hungUp(conn) {
		t.Error("a client that sends no more has gone away")
	}
	client.Close()
	if !hungUp(conn) {
		t.Error("a client that has gone away is there")
	}
}

func TestStaleSocket(t *testing.T) {
	dir, err := os.MkdirTemp("", "culvert")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "control")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	l, err = listenControl(path)
	if err != nil {
		t.Fatalf("a stale socket is in the way: %v", err)
	}
	l.Close()
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listenControl(path); err == nil {
		t.Error("a file that is no socket was replaced")
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "precious" {
		t.Errorf("the file holds %q, %v", b, err)
	}
}

func TestResolverAddresses(t *testing.T) {
	network := udptest.NewNetwork()
	s := start(t, network, addrB, replace(confB, "remote_addrs = 203.0.113.1", "remote_addrs = 203.0.113.1\n    local_addrs = 172.16.0.99", "start_action = start", "start_action = none"))
	defer finish(t, s)
	edges := &edges{conns: *s.g.options.conns}
	conn := *s.g.cfg.Connections[0]
	r := newResolver(&options{host: &fakeHost{local: addrB, mtu: 1400}}, edges, nil)
	list := []netip.Addr{netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")}

	path, _, err := r.pathTo(&conn, addrA)
	if err != nil || path.Local != netip.MustParseAddrPort("172.16.0.99:500") || path.NATT {
		t.Errorf("with local_addrs: %v, %v", path, err)
	}
	conn.LocalAddrs = append(conn.LocalAddrs, netip.PrefixFrom(addrB, 32))
	if path, _, err := r.pathTo(&conn, addrA); err != nil || path.Local != netip.AddrPortFrom(addrB, 500) {
		t.Errorf("with the host's choice among local_addrs: %v, %v", path, err)
	}
	conn.LocalAddrs = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	if _, _, err := r.pathTo(&conn, addrA); err == nil || !strings.Contains(err.Error(), "local_addrs does not allow") {
		t.Errorf("with local_addrs of another network: %v", err)
	}
	conn.LocalAddrs = nil
	var got []string
	for range 3 {
		path, mtu, err := r.choose(addresses{conn: conn, list: list})
		if err != nil || mtu != 1400 || path.Local != netip.AddrPortFrom(addrB, 500) {
			t.Fatalf("%v, %d, %v", path, mtu, err)
		}
		got = append(got, path.Remote.Addr().String())
	}
	if text := strings.Join(got, " "); text != "192.0.2.1 192.0.2.1 192.0.2.2" {
		t.Errorf("the addresses of a name take turns so: %s", text)
	}
	if _, _, err := r.choose(addresses{conn: conn, list: list[:1]}); err == nil || !strings.Contains(err.Error(), "no IPv6 socket") {
		t.Errorf("without a socket: %v", err)
	}
	if _, _, err := r.choose(addresses{conn: conn}); err == nil {
		t.Error("a name without an address is resolved")
	}
	conn.RemotePort = 4501
	if path, _, err := r.pathTo(&conn, addrA); err != nil || !path.NATT || path.Local.Port() != 4500 {
		t.Errorf("another port than 500: %v, %v", path, err)
	}
}

// Requests come from whoever runs as root, which is no reason to trust that they are well-formed.
//
// Cases: BUG-23.
func FuzzRequest(f *testing.F) {
	for _, s := range []string{
		`{"cmd":"status"}`, `{"cmd":"up","conn":"to-a","child":"net","timeout":1.5}`, `{"cmd":"up","timeout":1e999}`,
		`[]`, `{`, "", "\x00", strings.Repeat("[", 100), strings.Repeat(" ", 1<<16),
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := readRequest(&call{name: ownPrefix + "up", args: new(vici.Message).SetBytes("json", b)})
		if err != nil {
			return
		}
		if r.Cmd != "up" {
			t.Fatalf("up became %q", r.Cmd)
		}
		again, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		same, err := readRequest(&call{name: ownPrefix + "up", args: new(vici.Message).SetBytes("json", again)})
		if err != nil || same != r {
			t.Fatalf("%+v reads back as %+v, %v", r, same, err)
		}
	})
}

// A document that is too long for a packet comes in several.
func TestLongReply(t *testing.T) {
	a, b, c := controlled(t, confB)
	defer finish(t, b, a)
	text := strings.Repeat("x", 3*pieceSize*maxPieces)
	server := newServer(b.g)
	server.commands["long"] = func(c *call) (*vici.Message, error) { return nil, c.reply(Reply{Version: text}) }
	ours, theirs := sockets(t, c)
	v := server.enter(t.Context(), theirs)
	done := make(chan struct{})
	go func() { server.hear(v); close(done) }()
	conn := client.New(ours)
	var whole []byte
	var got []Reply
	if _, err := conn.Stream(t.Context(), "long", replyEvent, nil, func(m *vici.Message) {
		if r, done, err := joinReply(&whole, m); err != nil {
			t.Error(err)
		} else if done {
			got = append(got, r)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got[0].Version != text {
		t.Errorf("%d replies came", len(got))
	}
	conn.Close()
	<-done
}

// sockets are the two ends of a connection.
func sockets(t *testing.T, c Client) (ours net.Conn, theirs *net.UnixConn) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: c.Socket + ".pair", Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if ours, err = net.Dial("unix", c.Socket+".pair"); err != nil {
		t.Fatal(err)
	}
	if theirs, err = l.AcceptUnix(); err != nil {
		t.Fatal(err)
	}
	return ours, theirs
}

// Who registers for events and does not read them is dropped, and nobody waits for it.
func TestEventsUnread(t *testing.T) {
	a, b, c := controlled(t, confB)
	defer finish(t, b, a)
	server := newServer(b.g)
	ours, theirs := sockets(t, c)
	v := server.enter(t.Context(), theirs)
	if !server.listen(v, "log", true) || !server.isHeard("log") || server.isHeard("list-sa") {
		t.Error("the registration is not heard of")
	}
	m := new(vici.Message).Set("msg", "x")
	for range maxEvents {
		server.publish("log", m)
	}
	if v.ctx.Err() != nil {
		t.Fatal("it was dropped before its queue was full")
	}
	server.publish("log", m)
	if v.ctx.Err() == nil {
		t.Error("its queue is full, and it is not dropped")
	}
	if server.listen(v, "nothing", true) || server.listen(v, "list-sa", false) {
		t.Error("an event that there is not, or that nobody registered for, was confirmed")
	}
	server.places <- struct{}{}
	server.leave(v)
	if server.isHeard("log") {
		t.Error("it is gone, and heard as before")
	}
	ours.Close()
}
