package gateway

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-vpn/culvert/ike"
)

// TestFiguresAcrossRekey: what a child has carried goes on to be counted when its SAs are replaced and closed.
func TestFiguresAcrossRekey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, _ := pair(t, confA, confB)
		b.up()
		var packets, bytes uint64
		exchange := func() {
			t.Helper()
			p := ping(hostB, hostA, "over there")
			b.send(p)
			a.wants(p)
			packets, bytes = packets+1, bytes+uint64(len(p)+2) // with Pad Length and Next Header
			for _, s := range []*site{a, b} {
				c := s.g.Figures(t.Context()).Connections[0].Children[0]
				want := Traffic{PacketsIn: packets, BytesIn: bytes}
				if s == b {
					want = Traffic{PacketsOut: packets, BytesOut: bytes}
				}
				if c.Traffic != want || !c.Up || c.SAs != 1 {
					t.Errorf("%+v, want %+v", c, want)
				}
			}
		}
		exchange()
		for range 3 {
			if err := b.g.Rekey(t.Context(), "to-a", "net", nil); err != nil {
				t.Fatal(err)
			}
			exchange()
			time.Sleep(time.Minute) // the old one is gone
			exchange()
		}
		if n := len(b.g.Status().Connections[0].IKE[0].Children); n != 1 {
			t.Errorf("%d Child SAs are left: nothing was replaced", n)
		}

		f := b.g.Figures(t.Context())
		c := f.Connections[0]
		if !f.Answered || c.Name != "to-a" || c.Established != 1 || c.NATHere != 1 || c.Since.IsZero() || c.Rekey.Before(time.Now()) {
			t.Errorf("%+v", c)
		}
		if c.Events[ike.Established.String()] != 1 || c.Children[0].Events[ike.ChildRekeyed.String()] != 3 || !c.Children[0].Wanted {
			t.Errorf("%+v", c)
		}
		if c.Sent < 5 || c.Came < 5 || c.Resent != 0 || f.Handling.Count == 0 || f.Waiting.Count == 0 {
			t.Errorf("%+v, %+v", c, f.Handling)
		}
		finish(t, a, b)
		if f := b.g.Figures(t.Context()); f.Answered || f.Drops[DropNoSA.String()] != 0 {
			t.Errorf("after the end: %+v", f)
		}
	})
}

// TestFiguresOfTheDown: what is configured is counted while it is down, and so is what was sent again and why it failed.
func TestFiguresOfTheDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b, _ := pair(t, replace(confA, "qwerty", "asdfgh"), confB)
		time.Sleep(10 * time.Second)
		f := b.g.Figures(t.Context())
		c := f.Connections[0]
		if c.Established != 0 || len(c.Children) != 1 || c.Children[0].Up || !c.Children[0].Wanted {
			t.Errorf("%+v", c)
		}
		if c.Failed.IsZero() || c.Events[ike.Failed.String()] == 0 {
			t.Errorf("no failure: %+v", c)
		}
	})
}
