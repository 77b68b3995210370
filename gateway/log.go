package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/culvert-vpn/culvert/ident"
	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/natt"
)

// eventLog writes one line per event. What strangers can cause is written at level Debug, and not more often than once in
// a while. It belongs to the control goroutine.
type eventLog struct {
	log      *slog.Logger
	quiet    time.Time // until then nothing of strangers is written
	withheld int       // lines since the last one
}

// quietTime is the least time between two lines about strangers.
const quietTime = time.Second

// event writes an event.
func (l *eventLog) event(ev ike.Event) {
	level := slog.LevelInfo
	switch ev.Kind {
	case ike.Failed, ike.ChildFailed, ike.Warned:
		level = slog.LevelWarn
	case ike.Dropped:
		l.dropped(ev)
		return
	}
	l.log.LogAttrs(context.Background(), level, ev.Kind.String(), attributes(ev)...)
}

// dropped writes of a message that was not acted upon.
func (l *eventLog) dropped(ev ike.Event) {
	if !l.log.Enabled(context.Background(), slog.LevelDebug) {
		return
	}
	now := time.Now()
	if now.Before(l.quiet) {
		l.withheld++
		return
	}
	attrs := attributes(ev)
	if l.withheld > 0 {
		attrs = append(attrs, slog.Int("withheld", l.withheld))
	}
	l.quiet, l.withheld = now.Add(quietTime), 0
	l.log.LogAttrs(context.Background(), slog.LevelDebug, ev.Kind.String(), attrs...)
}

// sendFailed writes of a message that could not be sent.
func (l *eventLog) sendFailed(p natt.Path, err error) {
	l.log.Debug("an IKE message could not be sent", "peer", p.Remote, "local", p.Local, "error", err)
}

func (l *eventLog) error(what string, err error) { l.log.Error(what, "error", err) }

// attributes are what is known of an event.
func attributes(ev ike.Event) []slog.Attr {
	var attrs []slog.Attr
	text := func(key, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(key, value))
		}
	}
	text("connection", ev.Conn)
	text("child", ev.Child)
	if ev.Path.Remote.IsValid() {
		text("peer", ev.Path.Remote.String())
		text("local", ev.Path.Local.String())
	}
	text("local-id", idText(ev.LocalID))
	text("remote-id", idText(ev.RemoteID))
	text("spi-i", ikeSPI(ev.SPIi))
	text("spi-r", ikeSPI(ev.SPIr))
	text("spi-in", espSPI(ev.SPIIn))
	text("spi-out", espSPI(ev.SPIOut))
	text("text", ev.Text)
	text("remedy", ev.Remedy)
	return attrs
}

// idText is an identity in words, "" for none.
func idText(id ident.ID) string {
	if id.IsZero() {
		return ""
	}
	return id.String()
}

// ikeSPI and espSPI are SPIs as analysers print them, "" for none.
func ikeSPI(spi uint64) string {
	if spi == 0 {
		return ""
	}
	return fmt.Sprintf("%016x", spi)
}

func espSPI(spi uint32) string {
	if spi == 0 {
		return ""
	}
	return fmt.Sprintf("%08x", spi)
}
