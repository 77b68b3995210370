package gateway

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/ike/wire"
)

// numbers are those of the messages in a trace.
func numbers(t *trace) (list []uint64) {
	for _, m := range t.inOrder() {
		list = append(list, m.number)
	}
	return list
}

// TestTraceRing: a trace has the last messages, in their order, also when there is less room for them or more.
func TestTraceRing(t *testing.T) {
	var r trace
	m := ike.Message{Parts: make([]ike.Part, 300), Refused: string(make([]byte, 200)), Sends: 1 << 20, Datagrams: 1000}
	n := uint64(0)
	take := func(count, most int) {
		for range count {
			n++
			r.take(&m, n, most)
		}
	}
	want := func(list ...uint64) {
		t.Helper()
		if got := numbers(&r); !slices.Equal(got, list) {
			t.Errorf("%v, want %v", got, list)
		}
	}
	take(3, 4)
	want(1, 2, 3)
	take(3, 4)
	want(3, 4, 5, 6)
	r.room(2)
	want(5, 6)
	take(1, 2)
	want(6, 7)
	r.room(4)
	take(2, 4)
	want(6, 7, 8, 9)
	take(1, 4)
	want(7, 8, 9, 10)
	if got := r.list[0].message("x"); len(got.Parts) != traceParts || got.More == 0 || len(got.Refused) != maxRefusal || got.Datagrams != 255 || got.Sends != 65535 {
		t.Errorf("%+v", got)
	}
}

// TestTraceMemory: however many connections there are, all traces together have a bound.
func TestTraceMemory(t *testing.T) {
	for _, n := range []int{0, 1, 100, 10000, 1 << 20} {
		if got := share(n); got < traceLeast || got > traceMost || (n+1)*got > traceTotal && got > traceLeast {
			t.Errorf("%d messages of each of %d connections", got, n)
		}
	}
	if n := testing.AllocsPerRun(1000, func() {
		r := &trace{list: make([]traced, 8)}
		r.take(&ike.Message{}, 1, 8)
	}); n > 1 { // the list itself
		t.Errorf("%v allocations", n)
	}
}

// TestTraceOfStrangers: what never belonged to a connection is in a trace of its own; what led to one is in that of the connection.
func TestTraceOfStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, _ := pair(t, confA, replace(confB, "id = @foo", "id = @bar", "id-1 = @foo", "id-1 = 203.0.113.1"))
		time.Sleep(5 * time.Second)
		list, err := a.g.Trace(t.Context(), "", 0)
		if err != nil || len(list) < 4 || list[0].Exchange != wire.IKE_SA_INIT.String() || list[0].Out || list[0].Connection != "" {
			t.Fatalf("%v %+v", err, list)
		}
		if own, err := a.g.Trace(t.Context(), "to-b", 0); err != nil || len(own) != 0 {
			t.Errorf("%v %+v", err, own)
		}
		if later, err := a.g.Trace(t.Context(), "", list[2].Number); err != nil || len(later) != len(list)-3 {
			t.Errorf("%v: %d of %d messages are later than the third", err, len(later), len(list))
		}
		if calls, err := b.g.Trace(t.Context(), "to-a", 0); err != nil || len(calls) < 4 || !calls[0].Out || calls[0].Connection != "to-a" {
			t.Errorf("%v %+v", err, calls)
		}
	})
}
