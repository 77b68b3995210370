package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/internal/secrecy"
)

// discreet is a logger's handler that fails the test when a secret is logged, at whatever level.
type discreet struct {
	slog.Handler
	secrets *secrecy.Secrets
	tell    func(format string, args ...any)
}

func (d discreet) Enabled(context.Context, slog.Level) bool { return true }

func (d discreet) Handle(ctx context.Context, r slog.Record) error {
	var text bytes.Buffer
	_ = slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelDebug}).Handle(ctx, r)
	d.search("the log", text.Bytes())
	if !d.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	return d.Handler.Handle(ctx, r)
}

func (d discreet) WithAttrs(attrs []slog.Attr) slog.Handler {
	d.search("the log", fmt.Append(nil, attrs))
	d.Handler = d.Handler.WithAttrs(attrs)
	return d
}

func (d discreet) WithGroup(name string) slog.Handler {
	d.Handler = d.Handler.WithGroup(name)
	return d
}

// event looks into what is told to programs that embed a gateway.
func (d discreet) event(ev ike.Event) { d.search("an event", fmt.Appendf(nil, "%+v", ev)) }

// status looks into what clients are told.
func (d discreet) status(s Status) {
	text, _ := json.Marshal(s)
	d.search("the status", text)
}

func (d discreet) search(where string, text []byte) {
	for _, leak := range d.secrets.Find(text) {
		d.tell("%s: %s", where, leak)
	}
}

// newDiscreet wraps the logger of a gateway with this configuration.
func newDiscreet(t *testing.T, conf string, g *Gateway) discreet {
	d := discreet{g.options.log.Handler(), new(secrecy.Secrets), t.Errorf}
	d.secrets.KnowConfiguration(conf)
	g.options.log = slog.New(d)
	return d
}

// A secret that is logged, in an event or in the status is found.
func TestDiscreet(t *testing.T) {
	var found []string
	d := discreet{slog.DiscardHandler, new(secrecy.Secrets), func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }}
	d.secrets.KnowConfiguration("secret = hush-hush")
	log := slog.New(d)
	log.Debug("all is well", "key", "hush")
	log.Debug("peer said", "key", []byte("hush-hush"))
	log.With("key", "hush-hush").Info("hello")
	d.event(ike.Event{Text: "the secret is hush-hush"})
	d.status(Status{Device: "hush-hush"})
	if got := strings.Join(found, "; "); len(found) != 4 || strings.Contains(got, "hush") {
		t.Errorf("found: %s", got)
	}
}
