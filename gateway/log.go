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

// eventLog writes one line per event. What strangers can cause is written only now and then, so that they cannot fill
// the disk: their dropped messages at level Debug, failures up to a burst of lines. It belongs to the control goroutine.
type eventLog struct {
	log      *slog.Logger
	dropped  allowance
	failures map[string]*allowance // by connection; that of "" is for peers who belong to none
}

// failureBurst is how many failures of a connection are written one right after the other.
const failureBurst = 20

// event writes an event.
func (l *eventLog) event(ev ike.Event) {
	level, allowed, burst := slog.LevelInfo, (*allowance)(nil), 1
	switch ev.Kind {
	case ike.Dropped:
		level, allowed = slog.LevelDebug, &l.dropped
	case ike.Failed:
		// A peer that knows a name but not the secret is a stranger as well.
		level, allowed, burst = slog.LevelWarn, l.failuresOf(ev.Conn), failureBurst
	case ike.ChildFailed, ike.Warned:
		level = slog.LevelWarn
	}
	if !l.log.Enabled(context.Background(), level) {
		return
	}
	attrs := attributes(ev)
	if allowed != nil {
		withheld, ok := allowed.take(time.Now(), burst)
		if !ok {
			return
		}
		if withheld > 0 {
			attrs = append(attrs, slog.Int("withheld", withheld))
		}
	}
	ctx := context.Background()
	if ev.SA != nil {
		ctx = context.WithValue(ctx, numberKey{}, ev.SA.ID)
	}
	l.log.LogAttrs(ctx, level, ev.Kind.String(), attrs...)
}

// numberKey is the key of the number of the IKE SA that a line is about, for who hears it by vici.
type numberKey struct{}

func (l *eventLog) failuresOf(conn string) *allowance {
	if l.failures == nil {
		l.failures = make(map[string]*allowance)
	}
	if l.failures[conn] == nil {
		l.failures[conn] = &allowance{}
	}
	return l.failures[conn]
}

// allowance bounds how much is written: a burst of lines, and one more every quietTime.
type allowance struct {
	next     time.Time // when the next line would be due if all had come evenly
	withheld int       // lines since the last one
}

// quietTime is how long it takes until one more line may be written.
const quietTime = time.Second

// take asks to write a line, and tells how many were not written before it.
func (a *allowance) take(now time.Time, burst int) (withheld int, ok bool) {
	if earliest := now.Add(-time.Duration(burst-1) * quietTime); a.next.Before(earliest) {
		a.next = earliest
	}
	if a.next.After(now) {
		a.withheld++
		return 0, false
	}
	a.next = a.next.Add(quietTime)
	withheld, a.withheld = a.withheld, 0
	return withheld, true
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
	if ev.Diagnosis != nil {
		text("cause", string(ev.Diagnosis.Cause))
	}
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
