// Package resolvedtest is a message bus with systemd-resolved on it, as far as a program that tells it of name servers can see. It
// listens on a socket of its own, and keeps what it is told instead of looking up names.
package resolvedtest

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/godbus/dbus/v5"
)

// Options are how a bus differs from one with today's systemd-resolved.
type Options struct {
	// Absent: nobody on the bus has the name.
	Absent bool
	// Old: that of a systemd before 240, which has no SetLinkDefaultRoute.
	Old bool
	// Refuses is a method that fails, such as "SetLinkDNS"; "" for none.
	Refuses string
}

// Link is what the service knows of a network device.
type Link struct {
	Servers []netip.Addr
	// Domains are as systemd-resolved writes them: with ~ in front if they are for routing only.
	Domains []string
	// Default: names of no domain at all are asked for here.
	Default bool
}

// Bus is a running bus. Its methods may be called by any goroutine.
type Bus struct {
	options  Options
	listener net.Listener
	serving  sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool
	calls []string
	links map[int32]*Link
}

// Listen starts a bus on a Unix socket at path. Close ends it.
func Listen(path string, o Options) (*Bus, error) {
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	b := &Bus{options: o, listener: l, conns: make(map[net.Conn]bool), links: make(map[int32]*Link)}
	b.serving.Go(b.accept)
	return b, nil
}

// Close ends the bus and its connections, and removes the socket.
func (b *Bus) Close() {
	b.listener.Close()
	b.mu.Lock()
	for conn := range b.conns {
		conn.Close()
	}
	b.mu.Unlock()
	b.serving.Wait()
}

// Calls are the methods of the service that were called so far, with their arguments, in order.
func (b *Bus) Calls() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.calls)
}

// Links is what the service knows, by the index of the device; those that were reverted are not there.
func (b *Bus) Links() map[int]Link {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make(map[int]Link)
	for i, l := range b.links {
		out[int(i)] = Link{slices.Clone(l.Servers), slices.Clone(l.Domains), l.Default}
	}
	return out
}

func (b *Bus) accept() {
	for {
		conn, err := b.listener.Accept()
		if err != nil {
			return
		}
		b.mu.Lock()
		b.conns[conn] = true
		b.mu.Unlock()
		b.serving.Go(func() {
			_ = b.serve(conn) // who does not speak the protocol is no client any more
			conn.Close()
			b.mu.Lock()
			delete(b.conns, conn)
			b.mu.Unlock()
		})
	}
}

// serve lets a client in and answers its calls.
func (b *Bus) serve(conn net.Conn) error {
	in := bufio.NewReader(conn)
	if err := admit(in, conn); err != nil {
		return err
	}
	for {
		call, err := dbus.DecodeMessage(in)
		if err != nil {
			return err
		}
		if call.Type != dbus.TypeMethodCall {
			continue
		}
		if err := b.answer(call).EncodeTo(conn, binary.LittleEndian); err != nil {
			return err
		}
	}
}

// admit goes through the authentication, in which everybody is who he says.
func admit(in *bufio.Reader, out io.Writer) error {
	if zero, err := in.ReadByte(); err != nil || zero != 0 {
		return errors.New("a client begins with a byte of zero")
	}
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return err
		}
		answer := "ERROR"
		switch words := strings.Fields(line); {
		case len(words) == 1 && words[0] == "BEGIN":
			return nil
		case len(words) == 1 && words[0] == "AUTH":
			answer = "REJECTED EXTERNAL"
		case len(words) > 1 && words[0] == "AUTH" && words[1] == "EXTERNAL":
			answer = "OK 0123456789abcdef0123456789abcdef"
		}
		if _, err := io.WriteString(out, answer+"\r\n"); err != nil {
			return err
		}
	}
}

const (
	bus       = "org.freedesktop.DBus"
	service   = "org.freedesktop.resolve1"
	object    = "/org/freedesktop/resolve1"
	manager   = "org.freedesktop.resolve1.Manager"
	failed    = "org.freedesktop.DBus.Error."
	busyError = "org.freedesktop.resolve1.LinkBusy"
)

// method is a call to a message's addressee.
type method struct{ to, path, of, name, signature string }

func methodOf(m *dbus.Message) (x method) {
	x.to, _ = m.Headers[dbus.FieldDestination].Value().(string)
	path, _ := m.Headers[dbus.FieldPath].Value().(dbus.ObjectPath)
	x.path = string(path)
	x.of, _ = m.Headers[dbus.FieldInterface].Value().(string)
	x.name, _ = m.Headers[dbus.FieldMember].Value().(string)
	if s, ok := m.Headers[dbus.FieldSignature].Value().(dbus.Signature); ok {
		x.signature = strings.TrimSuffix(strings.TrimPrefix(s.String(), `"`), `"`)
	}
	return x
}

// answer does what a call asks for.
func (b *Bus) answer(call *dbus.Message) *dbus.Message {
	reply := &dbus.Message{Type: dbus.TypeMethodReply, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldReplySerial: dbus.MakeVariant(call.Serial()),
		dbus.FieldSender:      dbus.MakeVariant(bus),
	}}
	say := func(text string) {
		reply.Body = []any{text}
		reply.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(text))
	}
	fail := func(name, text string) *dbus.Message {
		reply.Type = dbus.TypeError
		reply.Headers[dbus.FieldErrorName] = dbus.MakeVariant(name)
		say(text)
		return reply
	}
	m := methodOf(call)
	switch {
	case m.to == bus && m.name == "Hello":
		say(":1.1")
		return reply
	case m.to != service || b.options.Absent:
		return fail(failed+"ServiceUnknown", "the name "+m.to+" is not on the bus")
	case m.path != object || m.of != manager:
		return fail(failed+"UnknownObject", "no "+m.of+" at "+m.path)
	case m.name == b.options.Refuses:
		return fail(busyError, "busy")
	}
	do, ok := b.methods()[m.name+" "+m.signature]
	if !ok {
		return fail(failed+"UnknownMethod", fmt.Sprintf("no method %s(%s)", m.name, m.signature))
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := do(call.Body); err != nil {
		return fail(failed+"InvalidArgs", err.Error())
	}
	return reply
}

// methods are those of the service, by name and signature. They are called with mu held.
func (b *Bus) methods() map[string]func([]any) error {
	list := map[string]func([]any) error{
		"SetLinkDNS ia(iay)":    b.setDNS,
		"SetLinkDomains ia(sb)": b.setDomains,
		"RevertLink i":          b.revert,
		"FlushCaches ":          func([]any) error { b.note("FlushCaches"); return nil },
	}
	if !b.options.Old {
		list["SetLinkDefaultRoute ib"] = b.setDefault
	}
	return list
}

func (b *Bus) link(device int32) *Link {
	if b.links[device] == nil {
		b.links[device] = &Link{}
	}
	return b.links[device]
}

func (b *Bus) note(name string, args ...any) {
	b.calls = append(b.calls, strings.TrimSpace(name+" "+fmt.Sprintln(args...)))
}

func (b *Bus) setDNS(body []any) error {
	var device int32
	var list []struct {
		Family int32
		Bytes  []byte
	}
	if err := dbus.Store(body, &device, &list); err != nil {
		return err
	}
	var servers []netip.Addr
	for _, a := range list {
		addr, ok := netip.AddrFromSlice(a.Bytes)
		if !ok || addr.Is4() != (a.Family == 2) || addr.Is6() != (a.Family == 10) {
			return fmt.Errorf("%x is no address of the family %d", a.Bytes, a.Family)
		}
		servers = append(servers, addr)
	}
	b.note("SetLinkDNS", device, servers)
	b.link(device).Servers = servers
	return nil
}

func (b *Bus) setDomains(body []any) error {
	var device int32
	var list []struct {
		Name        string
		RoutingOnly bool
	}
	if err := dbus.Store(body, &device, &list); err != nil {
		return err
	}
	var domains []string
	for _, d := range list {
		if d.RoutingOnly {
			d.Name = "~" + d.Name
		}
		domains = append(domains, d.Name)
	}
	b.note("SetLinkDomains", device, domains)
	b.link(device).Domains = domains
	return nil
}

func (b *Bus) setDefault(body []any) error {
	var device int32
	var on bool
	if err := dbus.Store(body, &device, &on); err != nil {
		return err
	}
	b.note("SetLinkDefaultRoute", device, on)
	b.link(device).Default = on
	return nil
}

func (b *Bus) revert(body []any) error {
	var device int32
	if err := dbus.Store(body, &device); err != nil {
		return err
	}
	b.note("RevertLink", device)
	delete(b.links, device)
	return nil
}
