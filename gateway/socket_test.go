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

// Whatever a client sends, it gets an answer, and the next one is served.
//
// Cases: BUG-23.
func TestControlSocketAbuse(t *testing.T) {
	a, b, c := controlled(t, confB)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, sent := range []string{"\n", "{}\n", "not json\n", `{"cmd":"status"`, `{"cmd":5}` + "\n", strings.Repeat("x", maxRequest+10)} {
		conn, err := net.Dial("unix", c.Socket)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, sent)
		_ = conn.(*net.UnixConn).CloseWrite()
		answer, _ := io.ReadAll(conn)
		conn.Close()
		var r Reply
		if err := json.Unmarshal(bytes.TrimSpace(answer), &r); len(sent) <= maxRequest && (err != nil || !r.Done || r.Error == "") {
			t.Errorf("%.20q is answered by %q, %v", sent, answer, err)
		}
	}
	// All readers are kept busy by clients that say nothing; ending does not wait for them.
	for range controlReaders {
		conn, err := net.Dial("unix", c.Socket)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
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

// Clients that give up waiting do not keep others from being served.
func TestControlSocketAbandoned(t *testing.T) {
	a, b, c := controlled(t, replace(confB, "start_action = start", "start_action = none"))
	finish(t, a) // so that nothing comes up
	for i := range controlWaiters {
		conn := ask(t, c, `{"cmd":"up","conn":"to-a"}`)
		if i == 0 { // its event is the last one: nothing more is written to anybody
			if _, err := conn.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
		}
		conn.Close()
	}
	ctx, cancel := context.WithTimeout(t.Context(), DefaultTimeout/2)
	defer cancel()
	if err := c.Do(ctx, Request{Cmd: "down", Conn: "to-a"}, nil); err != nil {
		t.Errorf("down: %v", err)
	}
	finish(t, b)
}

// ask sends a request and does not wait for an answer.
func ask(t *testing.T, c Client, request string) net.Conn {
	t.Helper()
	conn, err := net.Dial("unix", c.Socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, request+"\n"); err != nil {
		t.Fatal(err)
	}
	return conn
}

// However many clients wait for a peer that does not answer, who wants to know the state does not wait for them. One too many is
// refused, and those in the queue get their turn.
func TestControlSocketWaiters(t *testing.T) {
	a, b, c := controlled(t, replace(confB, "start_action = start", "start_action = none"))
	finish(t, a) // so that nothing comes up
	ctx, cancel := context.WithTimeout(t.Context(), DefaultTimeout/2)
	defer cancel()
	var waiting []net.Conn
	replies := make(chan Reply, controlWaiters+maxQueue+1)
	for range cap(replies) {
		conn := ask(t, c, `{"cmd":"up","conn":"to-a"}`)
		waiting = append(waiting, conn)
		go func() {
			var r Reply
			for lines := json.NewDecoder(conn); lines.Decode(&r) == nil && !r.Done; {
				r = Reply{}
			}
			replies <- r
		}()
	}
	if r := <-replies; !strings.Contains(r.Error, "clients wait already") {
		t.Errorf("the first one that is done: %+v", r)
	}
	if s, err := c.Status(ctx); err != nil || s.Connections[0].Name != "to-a" {
		t.Errorf("status while all places are taken: %+v, %v", s, err)
	}
	for _, conn := range waiting {
		conn.Close()
	}
	for {
		err := c.Do(ctx, Request{Cmd: "down", Conn: "to-a"}, nil)
		if err == nil {
			break
		}
		if !strings.Contains(err.Error(), "clients wait already") { // until it is noticed that they are gone
			t.Fatalf("down: %v", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
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
	s, err := listenControl(path, nil)
	if err != nil {
		t.Fatalf("a stale socket is in the way: %v", err)
	}
	s.close()
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listenControl(path, nil); err == nil {
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
		`[]`, `{`, "", "\x00", strings.Repeat("[", 100), strings.Repeat(" ", maxRequest+1),
	} {
		f.Add([]byte(s + "\n"))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := readRequest(bytes.NewReader(b))
		if err != nil {
			return
		}
		if i := bytes.IndexByte(b, '\n'); i < 0 || i >= maxRequest {
			t.Fatalf("a request of more than a line was taken: %+v", r)
		}
		again, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if same, err := readRequest(bytes.NewReader(append(again, '\n'))); len(again) < maxRequest && (err != nil || same != r) {
			t.Fatalf("%+v reads back as %+v, %v", r, same, err)
		}
	})
}
