// Package client speaks vici to a running daemon: Culvert, or strongSwan's charon.
package client

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/culvert-vpn/culvert/vici"
)

// Conn is a connection to a daemon. It does one thing at a time: a command, or listening to events. Not for use by several
// goroutines at once. It starts none.
type Conn struct {
	conn   net.Conn
	reader *bufio.Reader
	// on is called with the events that come while something else is awaited.
	on func(name string, m *vici.Message)
}

// ErrUnknown is wrapped by the errors about commands and events that the daemon does not have.
var ErrUnknown = errors.New("the daemon does not know it")

// Dial connects to the Unix socket of a daemon.
func Dial(ctx context.Context, socket string) (*Conn, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, err
	}
	return New(conn), nil
}

// New speaks over a connection that is there already, and takes it.
func New(conn net.Conn) *Conn { return &Conn{conn: conn, reader: bufio.NewReader(conn)} }

// Close ends the connection. What waits for an answer gets an error.
func (c *Conn) Close() error { return c.conn.Close() }

// Call has the daemon carry out a command, and returns its answer. args may be nil. When ctx ends, the connection is closed.
// That the answer says success=no is no error here: see Failed.
func (c *Conn) Call(ctx context.Context, command string, args *vici.Message) (*vici.Message, error) {
	answer, err := c.exchange(ctx, vici.Packet{Type: vici.Request, Name: command, Message: args})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", command, err)
	}
	if answer.Type != vici.Response {
		return nil, fmt.Errorf("%s: %w", command, ErrUnknown)
	}
	return answer.Message, nil
}

// Stream is Call of a command that tells what it has to say by events of one name: each is called with each of them.
func (c *Conn) Stream(ctx context.Context, command, event string, args *vici.Message, each func(*vici.Message)) (*vici.Message, error) {
	before := c.on
	c.on = func(name string, m *vici.Message) {
		if name == event {
			each(m)
		}
	}
	defer func() { c.on = before }()
	if err := c.register(ctx, vici.Register, event); err != nil {
		return nil, err
	}
	answer, err := c.Call(ctx, command, args)
	if err != nil {
		return nil, err
	}
	return answer, c.register(ctx, vici.Unregister, event)
}

// Listen calls each with the events of these names as they come, until ctx ends or the daemon closes the connection. The
// connection is of no use afterwards. registered, unless nil, is called when the daemon has confirmed all of them.
func (c *Conn) Listen(ctx context.Context, registered func(), each func(event string, m *vici.Message), events ...string) error {
	c.on = each
	for _, name := range events {
		if err := c.register(ctx, vici.Register, name); err != nil {
			return err
		}
	}
	if registered != nil {
		registered()
	}
	defer context.AfterFunc(ctx, func() { c.conn.Close() })()
	for {
		p, err := c.read()
		if err != nil {
			return orCause(ctx, err)
		}
		if p.Type == vici.Event {
			each(p.Name, p.Message)
		}
	}
}

// register begins or ends the events of a name.
func (c *Conn) register(ctx context.Context, t vici.Type, event string) error {
	answer, err := c.exchange(ctx, vici.Packet{Type: t, Name: event})
	if err == nil && answer.Type != vici.Confirm {
		err = ErrUnknown
	}
	if err != nil {
		return fmt.Errorf("event %s: %w", event, err)
	}
	return nil
}

// exchange sends a packet and waits for its answer. Events on the way are passed on.
func (c *Conn) exchange(ctx context.Context, p vici.Packet) (vici.Packet, error) {
	b, err := p.Append(nil)
	if err != nil {
		return vici.Packet{}, err
	}
	defer context.AfterFunc(ctx, func() { c.conn.Close() })()
	_, failed := c.conn.Write(b) // a daemon that refuses us says so before it closes: that is what to tell
	for {
		answer, err := c.read()
		if err != nil {
			return vici.Packet{}, orCause(ctx, errors.Join(failed, err))
		}
		if answer.Type != vici.Event {
			return answer, nil
		}
		if c.on != nil {
			c.on(answer.Name, answer.Message)
		}
	}
}

// read reads a packet.
func (c *Conn) read() (vici.Packet, error) {
	var length [4]byte
	if _, err := io.ReadFull(c.reader, length[:]); err != nil {
		return vici.Packet{}, err
	}
	n, err := vici.Segment(length[:])
	if err != nil {
		return vici.Packet{}, err
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(c.reader, b); err != nil {
		return vici.Packet{}, err
	}
	return vici.Parse(b)
}

// orCause is why ctx has ended, if it has, and err otherwise.
func orCause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// Failed is the error that an answer tells of: nil if it says success=yes, or nothing about it.
func Failed(answer *vici.Message) error {
	if success, ok := answer.Bytes("success"); !ok || string(success) == "yes" {
		return nil
	}
	if text := answer.Text("errmsg"); text != "" {
		return errors.New(text)
	}
	return errors.New("the daemon does not say why it failed")
}
