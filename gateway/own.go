package gateway

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/culvert-vpn/culvert/config"
	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/vici"
)

// What strongSwan's protocol has no words for is said by commands of our own beside its: ownPrefix and the name of a Request, which
// is the argument json. The replies are events of the name replyEvent, each with a document of JSON in pieces.
const (
	ownPrefix  = "culvert-"
	replyEvent = "culvert-reply"
	// A value may have 64 KiB and a packet 512: documents are cut into pieces, and those of long ones come in several events.
	pieceSize = 32 << 10
	maxPieces = 8
)

// ownCommand carries out a Request.
func ownCommand(c *call) (*vici.Message, error) {
	r, err := readRequest(c)
	if err == nil && r.takesTime() {
		var done func()
		if done, err = c.wait(); err == nil {
			defer done()
		}
	}
	if err == nil {
		err = c.answer(r)
	}
	if failed := c.reply(lastReply(err)); failed != nil {
		return nil, failed
	}
	return nil, err
}

// readRequest reads what is asked for.
func readRequest(c *call) (Request, error) {
	var r Request
	if document, ok := c.args.Bytes("json"); ok {
		if err := json.Unmarshal(document, &r); err != nil {
			return r, fmt.Errorf("the request is not understood: %w", err)
		}
	}
	r.Cmd = strings.TrimPrefix(c.name, ownPrefix)
	return r, nil
}

// reply sends a reply as one event, or as several.
func (c *call) reply(r Reply) error {
	document, err := json.Marshal(r)
	if err != nil {
		return err
	}
	pieces := slices.Collect(slices.Chunk(document, pieceSize))
	for len(pieces) > 0 {
		n := min(len(pieces), maxPieces)
		m := &vici.Message{Elements: []vici.Element{{Name: "json", Kind: vici.KindList, List: pieces[:n]}}}
		pieces = pieces[n:]
		if err := c.stream(replyEvent, m.SetYes("more", len(pieces) > 0)); err != nil {
			return err
		}
	}
	return nil
}

// joinReply puts an event to those that came before, and reads the reply when that is whole.
func joinReply(whole *[]byte, m *vici.Message) (r Reply, done bool, err error) {
	e, _ := m.Find("json")
	for _, piece := range e.List {
		*whole = append(*whole, piece...)
	}
	if more, _ := m.Yes("more"); more {
		return r, false, nil
	}
	if err = json.Unmarshal(*whole, &r); err != nil {
		err = fmt.Errorf("the answer is not understood: %w", err)
	}
	*whole = nil
	return r, true, err
}

// lastReply says how a request ended.
func lastReply(err error) Reply {
	last := Reply{Done: true}
	if err == nil {
		return last
	}
	last.Error = err.Error()
	var failed *EventError
	if errors.As(err, &failed) {
		last.Error, last.Remedy = failed.Event.Text, failed.Event.Remedy
	}
	var bad config.Errors
	if errors.As(err, &bad) {
		last.Error = "the configuration is not accepted; the former one stays in effect"
		for _, e := range bad {
			last.Config = append(last.Config, e.Error())
		}
	}
	return last
}

// takesTime reports whether a request may have to wait, for a peer say.
func (r Request) takesTime() bool { return r.Cmd != "status" && r.Cmd != "version" && r.Cmd != "trace" }

// answer does what a client asks for, but for the last reply.
func (c *call) answer(r Request) error {
	timeout := DefaultTimeout
	if r.Timeout > 0 {
		timeout = time.Duration(min(r.Timeout, MaxTimeout.Seconds()) * float64(time.Second))
	}
	ctx, cancel := context.WithTimeoutCause(c.ctx, timeout, fmt.Errorf("it is not done after %v", timeout))
	defer cancel()
	progress := func(ev ike.Event) {
		if c.reply(Reply{Event: infoOf(ev, time.Now())}) != nil {
			cancel() // the client has gone away
		}
	}
	g := c.gateway
	switch r.Cmd {
	case "status":
		status := g.Status()
		return c.reply(Reply{Status: &status})
	case "version":
		return c.reply(Reply{Version: Version()})
	case "capture":
		// It goes on until the client goes away.
		return g.Capture(c.ctx, CaptureOptions{Connection: r.Conn, Child: r.Child, Snap: r.Snap}, func(list []CapturedPacket) error {
			return c.reply(Reply{Packets: list})
		})
	case "pprof":
		w := bufio.NewWriterSize(replyWriter{c}, pieceSize)
		if err := WriteProfile(c.ctx, w, r.Profile, timeout); err != nil {
			return err
		}
		return w.Flush()
	case "trace":
		list, err := g.Trace(ctx, r.Conn, r.After)
		if err != nil {
			return err
		}
		return c.reply(Reply{Trace: list})
	case "reload":
		if g.options.reload == nil {
			return errors.New("this gateway has no configuration that it could load again")
		}
		r, err := g.options.reload(ctx)
		if err != nil {
			return err
		}
		return c.reply(Reply{Reload: &r})
	case "up":
		return g.Up(ctx, r.Conn, r.Child, progress)
	case "down":
		return g.Down(ctx, r.Conn, r.Child, progress)
	case "rekey":
		if r.Reauth {
			return g.Reauthenticate(ctx, r.Conn, progress)
		}
		return g.Rekey(ctx, r.Conn, r.Child, progress)
	}
	return fmt.Errorf("there is no command %q", r.Cmd)
}
