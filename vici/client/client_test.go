package client

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"testing"

	"github.com/culvert-vpn/culvert/vici"
)

// daemon plays the other end: it reads packets and sends, for each, what the script says.
func daemon(t *testing.T, script map[string][]vici.Packet) *Conn {
	t.Helper()
	ours, theirs := net.Pipe()
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	go func() {
		peer := New(theirs)
		for {
			p, err := peer.read()
			if err != nil {
				return
			}
			answers, ok := script[p.Type.String()+" "+p.Name]
			if !ok {
				theirs.Close()
				return
			}
			for _, answer := range answers {
				b, _ := answer.Append(nil)
				if _, err := theirs.Write(b); err != nil {
					return
				}
			}
		}
	}()
	return New(ours)
}

func event(name, key string) vici.Packet {
	return vici.Packet{Type: vici.Event, Name: name, Message: new(vici.Message).Set(key, "x")}
}

func TestStream(t *testing.T) {
	c := daemon(t, map[string][]vici.Packet{
		"register event list-sa":   {{Type: vici.Confirm}},
		"unregister event list-sa": {event("list-sa", "late"), {Type: vici.Confirm}},
		"request list-sas": {event("list-sa", "one"), event("log", "other"), event("list-sa", "two"),
			{Type: vici.Response, Message: new(vici.Message).Set("success", "no").Set("errmsg", "half of it")}},
	})
	var got []string
	answer, err := c.Stream(t.Context(), "list-sas", "list-sa", nil, func(m *vici.Message) { got = append(got, m.String()) })
	if err != nil || !slices.Equal(got, []string{"{one}", "{two}", "{late}"}) {
		t.Fatal(got, err)
	}
	if err := Failed(answer); err == nil || err.Error() != "half of it" {
		t.Error(err)
	}
}

func TestUnknown(t *testing.T) {
	c := daemon(t, map[string][]vici.Packet{"request moo": {{Type: vici.Unknown}}, "register event moo": {{Type: vici.NoEvent}}})
	if _, err := c.Call(t.Context(), "moo", nil); !errors.Is(err, ErrUnknown) {
		t.Error(err)
	}
	if err := c.Listen(t.Context(), nil, nil, "moo"); !errors.Is(err, ErrUnknown) {
		t.Error(err)
	}
	if _, err := c.Call(t.Context(), "closes", nil); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}

func TestListen(t *testing.T) {
	c := daemon(t, map[string][]vici.Packet{"register event log": {{Type: vici.Confirm}, event("log", "a"), event("log", "b")}})
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	var got []string
	registered := false
	err := c.Listen(ctx, func() { registered = true }, func(_ string, m *vici.Message) {
		if got = append(got, m.String()); len(got) == 2 {
			cancel(enough)
		}
	}, "log")
	if !errors.Is(err, enough) || !registered || !slices.Equal(got, []string{"{a}", "{b}"}) {
		t.Error(got, registered, err)
	}
}

func TestNoPacket(t *testing.T) {
	for _, stream := range []string{"\xff\xff\xff\xff", "\x00\x00\x00\x01\x09", "\x00\x00"} {
		c := &Conn{}
		ours, theirs := net.Pipe()
		*c = *New(ours)
		go func() {
			_, _ = theirs.Write([]byte(stream))
			theirs.Close()
		}()
		if p, err := c.read(); err == nil {
			t.Errorf("%q is taken for %v", stream, p)
		}
		ours.Close()
	}
	if err := Failed(new(vici.Message).Set("success", "no")); err == nil {
		t.Error("a failure without a reason is none")
	}
	if err := Failed(new(vici.Message).Set("daemon", "x")); err != nil {
		t.Error(err)
	}
	if _, err := New(nil).exchange(t.Context(), vici.Packet{Type: vici.Request, Name: string(bytes.Repeat([]byte("n"), 300))}); !errors.Is(err, vici.ErrTooLong) {
		t.Error(err)
	}
}
