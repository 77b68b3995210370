package gateway

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/culvert-vpn/culvert/udp/udptest"
)

// TestCapture: both ends see the packets of their tunnel in clear, as they were and with their direction, while somebody captures.
func TestCapture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := &nat{public: public}
		a, b := captured(t, box)
		b.up()
		var said []CapturedPacket
		ctx, stop := context.WithCancel(t.Context())
		over := make(chan error, 1)
		begin := func(s *site, o CaptureOptions) {
			go func() {
				over <- s.g.Capture(ctx, o, func(list []CapturedPacket) error { said = append(said, list...); return nil })
			}()
			synctest.Wait()
		}
		begin(b, CaptureOptions{Connection: "to-a", Snap: 24})
		if err := b.g.Capture(ctx, CaptureOptions{Connection: "to-a"}, nil); !errors.Is(err, errCaptureTaken) {
			t.Errorf("a second capture: %v", err)
		}
		out, in := ping(hostB, hostA, "question"), ping(hostA, hostB, "a longer answer")
		b.send(out)
		a.wants(out)
		a.send(in)
		b.wants(in)
		if len(said) != 2 || !said[0].Out || said[1].Out || !bytes.Equal(said[0].Data, out[:24]) || !bytes.Equal(said[1].Data, in[:24]) {
			t.Fatalf("%+v", said)
		}
		if p := said[1]; p.Length != len(in) || p.Connection != "to-a" || p.Child != "net" || len(p.SPI) != 8 || p.SPI == said[0].SPI || p.Time.IsZero() {
			t.Errorf("%+v", p)
		}
		stop()
		if err := <-over; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		b.send(out)
		a.wants(out)
		if len(said) != 2 {
			t.Error("it goes on")
		}
		for _, o := range []CaptureOptions{{Connection: "nowhere"}} {
			if err := b.g.Capture(t.Context(), o, nil); err == nil {
				t.Errorf("%+v is accepted", o)
			}
		}
		finish(t, a, b)
	})
}

// captured runs the reference case, with captures allowed.
func captured(t *testing.T, box *nat, opts ...Option) (a, b *site) {
	t.Helper()
	net := udptest.NewNetwork()
	net.Hook(box.hook)
	opts = append(opts, WithCapture())
	a = start(t, net, addrA, confA, opts...)
	synctest.Wait()
	return a, start(t, net, addrB, confB, opts...)
}

// TestCaptureFull: who captures and does not read holds nobody up; what is left out is counted.
func TestCaptureFull(t *testing.T) {
	c := &capture{options: CaptureOptions{Connection: "x"}, packets: make(chan CapturedPacket, 2)}
	o := &owner{conn: "x", child: "y"}
	for range 5 {
		c.take(o, true, []byte{1, 2, 3})
		c.take(&owner{conn: "other"}, true, []byte{1, 2, 3})
		c.take(nil, true, []byte{1, 2, 3})
	}
	list, err := c.next(t.Context(), nil)
	if err != nil || len(list) != 2 || list[1].Lost != 3 {
		t.Errorf("%v: %+v", err, list)
	}
	c.options.Child = "z"
	c.take(o, true, []byte{1})
	if len(c.packets) > 0 {
		t.Error("a packet of another child is taken")
	}
}

// TestCaptureRefused: nobody can capture unless it was allowed, and the log tells of who does.
func TestCaptureRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, _ := pair(t, confA, confB)
		b.up()
		if err := b.g.Capture(t.Context(), CaptureOptions{Connection: "to-a"}, nil); !errors.Is(err, errNoCapture) {
			t.Errorf("%v", err)
		}
		finish(t, a, b)
	})
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		a, b := captured(t, &nat{public: public}, WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
		b.up()
		ctx, stop := context.WithCancel(t.Context())
		over := make(chan error, 1)
		go func() { over <- b.g.Capture(ctx, CaptureOptions{Connection: "to-a"}, nil) }()
		synctest.Wait()
		stop()
		<-over
		finish(t, a, b)
		if strings.Count(log.String(), "level=WARN msg=\"packets are ") != 2 {
			t.Errorf("%s", log.String())
		}
	})
}

// TestProfiles: every profile is written, and others are refused.
func TestProfiles(t *testing.T) {
	for _, name := range Profiles() {
		var b bytes.Buffer
		if err := WriteProfile(t.Context(), &b, name, 1); err != nil || b.Len() == 0 {
			t.Errorf("%s: %v, %d bytes", name, err, b.Len())
		}
	}
	if err := WriteProfile(t.Context(), nil, "nonsense", 1); err == nil {
		t.Error("nonsense is written")
	}
}
