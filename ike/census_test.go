package ike

import (
	"fmt"
	"testing"
	"time"
)

// TestCensus: what is counted is what Snapshot lists.
func TestCensus(t *testing.T) {
	f := newFleet(t)
	for range 5 {
		f.add()
	}
	known, strangers := f.hub.Census()
	if len(known) != 1 || strangers.Connecting != 0 {
		t.Fatalf("%+v, strangers %+v", known, strangers)
	}
	c := known[0]
	var rekey, childRekey time.Time
	for _, sa := range f.hub.Snapshot() {
		rekey, childRekey = earlier(rekey, sa.RekeyAt), earlier(childRekey, sa.Children[0].RekeyAt)
	}
	if c.Conn != "c" || c.Established != 5 || c.Connecting+c.Replaced+c.Closing != 0 || c.Open != 5 || !c.Since.Equal(f.now) || !c.Rekey.Equal(rekey) {
		t.Errorf("%+v, the first rekeying is at %v", c, rekey)
	}
	if len(c.Children) != 1 || c.Children[0].Child != "net" || c.Children[0].SAs != 5 || !c.Children[0].Rekey.Equal(childRekey) || c.Children[0].Wanted {
		t.Errorf("%+v, the first rekeying is at %v", c.Children, childRekey)
	}
	if n := testing.AllocsPerRun(10, func() { f.hub.Census() }); n > 4 {
		t.Errorf("%v allocations", n)
	}
	// One that calls and gets no answer is a stranger.
	s := newScript(t, nil)
	s.call()
	if _, strangers = s.Census(); strangers.Connecting != 1 {
		t.Errorf("strangers %+v", strangers)
	}
	s.give(Initiate{Conn: "c"})
	if known, _ = s.Census(); known[0].Connecting != 1 || !known[0].Children[0].Wanted {
		t.Errorf("%+v", known[0])
	}
}

// BenchmarkCensus compares what a scrape of the metrics costs with what a status does.
func BenchmarkCensus(b *testing.B) {
	for _, n := range []int{100, 10000} {
		f := newFleet(b)
		for range n {
			f.add()
		}
		b.Run(fmt.Sprintf("census/%d", n), func(b *testing.B) {
			for b.Loop() {
				f.hub.Census()
			}
		})
		b.Run(fmt.Sprintf("snapshot/%d", n), func(b *testing.B) {
			for b.Loop() {
				f.hub.Snapshot()
			}
		})
	}
}
