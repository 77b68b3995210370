package gateway

import (
	"cmp"
	"context"
	"log/slog"
	"strconv"
	"strings"

	"github.com/culvert-vpn/culvert/explain"
	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/natt"
	"github.com/culvert-vpn/culvert/vici"
)

// What has happened, as vici tells it to who has registered for it.

// tell passes an event on in charon's words.
func (c *control) tell(ev ike.Event) {
	if c.server == nil {
		return
	}
	if kind := alertOf(ev); kind != "" {
		c.publish("alert", func() *vici.Message {
			m := new(vici.Message).Set("type", kind)
			if ev.SA != nil {
				m.Section("ike-sa").Add(nameOf(ev.SA), c.describeSA(ev.SA, false))
			}
			return m
		})
	}
	if ev.SA == nil {
		return
	}
	switch ev.Kind {
	case ike.Established:
		if now, ok := c.endpoint.Info(ev.SA.ID); ok { // with the addresses that came in the same message
			ev.SA = &now
		}
		c.tellIKE(ev, true)
	case ike.Closed, ike.Failed:
		if !ev.SA.Established.IsZero() && ev.SA.State != "replaced" {
			c.tellIKE(ev, false)
		}
	case ike.ChildUp, ike.ChildDown:
		c.publish("child-updown", func() *vici.Message {
			return new(vici.Message).SetYes("up", ev.Kind == ike.ChildUp).Add(nameOf(ev.SA), c.describeSA(ev.SA, true))
		})
	case ike.Rekeyed:
		c.publish("ike-rekey", func() *vici.Message {
			both := new(vici.Message).Add("old", c.describeSA(ev.Old, false)).Add("new", c.describeSA(ev.SA, false))
			return new(vici.Message).Add(nameOf(ev.SA), both)
		})
	case ike.ChildRekeyed:
		c.publish("child-rekey", func() *vici.Message { return c.describeChildRekey(ev) })
	case ike.PathChanged:
		c.publish("ike-update", func() *vici.Message {
			return describePath(ev.SA.Path).Add(nameOf(ev.SA), c.describeSA(ev.Old, false))
		})
	}
}

// publish describes an event only if anybody hears it.
func (c *control) publish(event string, describe func() *vici.Message) {
	if c.server.isHeard(event) {
		c.server.publish(event, describe())
	}
}

func (c *control) tellIKE(ev ike.Event, up bool) {
	c.publish("ike-updown", func() *vici.Message {
		return new(vici.Message).SetYes("up", up).Add(nameOf(ev.SA), c.describeSA(ev.SA, false))
	})
}

func (c *control) describeChildRekey(ev ike.Event) *vici.Message {
	m := c.describeSA(ev.SA, false)
	both := &vici.Message{}
	for _, child := range ev.Old.Children {
		both.Add("old", c.describeChild(ev.Old, &child))
	}
	for _, child := range ev.SA.Children {
		both.Add("new", c.describeChild(ev.SA, &child))
	}
	m.Section("child-sas").Add(ev.Child, both)
	return new(vici.Message).Add(nameOf(ev.SA), m)
}

func describePath(p natt.Path) *vici.Message {
	return new(vici.Message).Set("local-host", p.Local.Addr().String()).SetUint("local-port", uint64(p.Local.Port())).
		Set("remote-host", p.Remote.Addr().String()).SetUint("remote-port", uint64(p.Remote.Port()))
}

// alertOf is charon's name of what went wrong, empty if it has none.
func alertOf(ev ike.Event) string {
	if ev.Diagnosis == nil || ev.Kind != ike.Failed && ev.Kind != ike.ChildFailed {
		return ""
	}
	switch ev.Diagnosis.Cause {
	case explain.UnknownIdentity, explain.NoSecret, explain.WrongSecret, explain.OtherMethod:
		return "peer-auth-failed"
	case explain.PeerRefusesUs:
		return "local-auth-failed"
	case explain.NoProposal:
		if ev.Kind == ike.ChildFailed {
			return "proposal-mismatch-child"
		}
		return "proposal-mismatch-ike"
	case explain.SelectorsDiffer:
		return "ts-mismatch"
	case explain.ConnectedAlready:
		return "unique-keep"
	case explain.NoInnerAddress:
		return "vip-failure"
	case explain.MalformedMessages:
		return "parse-error-body"
	case explain.SilentPeer, explain.Silent500, explain.Unreachable:
		return "peer-init-unreachable"
	case explain.Silent4500:
		return "retransmit-send-timeout"
	case explain.NameNotResolved:
		return "peer-addr-failed"
	}
	return ""
}

// groupOf is the part of charon that would have logged an event.
func groupOf(ev ike.Event) string {
	switch ev.Kind {
	case ike.ChildUp, ike.ChildRekeyed, ike.ChildDown, ike.ChildFailed:
		return "CHD"
	case ike.PathChanged, ike.Dropped:
		return "NET"
	}
	return "IKE"
}

// eventText is an event in a line.
func eventText(ev ike.Event) string {
	var b strings.Builder
	b.WriteString(cmp.Or(ev.Conn, unnamed))
	if ev.Child != "" {
		b.WriteString(" child " + ev.Child)
	}
	b.WriteString(" " + ev.Kind.String())
	if ev.Path.Remote.IsValid() {
		b.WriteString(" with " + ev.Path.Remote.String())
	}
	for _, text := range []string{ev.Text, ev.Remedy} {
		if text != "" {
			b.WriteString("; " + text)
		}
	}
	return b.String()
}

func logMessage(group, text string) *vici.Message {
	return new(vici.Message).Set("group", group).Set("level", "1").Set("msg", shortened(text))
}

// logTee gives the lines of the log to the clients that have registered for them, besides to the handler.
type logTee struct {
	slog.Handler
	server *server
	attrs  []slog.Attr
}

// Enabled is also true for what only the clients hear.
func (h *logTee) Enabled(ctx context.Context, level slog.Level) bool {
	return h.Handler.Enabled(ctx, level) || level >= slog.LevelInfo && h.server.isHeard("log")
}

// Handle writes a line.
func (h *logTee) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelInfo && h.server.isHeard("log") {
		h.server.publish("log", h.line(ctx, r))
	}
	if !h.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

// line is a record as an event.
func (h *logTee) line(ctx context.Context, r slog.Record) *vici.Message {
	var b strings.Builder
	b.WriteString(r.Message)
	conn := ""
	add := func(a slog.Attr) bool {
		if a.Key == "connection" {
			conn = a.Value.String()
		}
		b.WriteString(" " + a.Key + "=" + word(a.Value.Resolve().String()))
		return true
	}
	for _, a := range h.attrs {
		add(a)
	}
	r.Attrs(add)
	level := "1"
	if r.Level > slog.LevelInfo {
		level = "0"
	}
	group := "DMN"
	switch {
	case strings.HasPrefix(r.Message, "child"):
		group = "CHD"
	case conn != "":
		group = "IKE"
	}
	m := new(vici.Message).Set("group", group).Set("level", level).Set("thread", "1")
	m.SetIf("ikesa-name", conn)
	if number, ok := ctx.Value(numberKey{}).(uint64); ok {
		m.SetUint("ikesa-uniqueid", number)
	}
	return m.Set("msg", shortened(b.String()))
}

// WithAttrs and WithGroup are those of a slog.Handler.
func (h *logTee) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &logTee{Handler: h.Handler.WithAttrs(attrs), server: h.server, attrs: append(h.attrs[:len(h.attrs):len(h.attrs)], attrs...)}
}

// WithGroup is that of a slog.Handler.
func (h *logTee) WithGroup(name string) slog.Handler {
	return &logTee{Handler: h.Handler.WithGroup(name), server: h.server, attrs: h.attrs}
}

// word is a text that stands for one thing on a line: in quotes if it has to be.
func word(text string) string {
	if text == "" || strings.ContainsAny(text, " \"=") {
		return strconv.Quote(text)
	}
	return text
}
