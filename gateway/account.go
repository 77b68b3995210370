package gateway

import (
	"sync"

	"github.com/culvert-vpn/culvert/esp"
)

// Traffic is what was carried, in packets and in bytes that were encrypted or decrypted: inner packets and their padding.
type Traffic struct {
	PacketsIn, BytesIn, PacketsOut, BytesOut uint64
}

// account is what the Child SAs of a configured child have carried, those that are there and those that were. Forwarders do not know
// it: they count in their SAs. The control goroutine enters and settles these, anybody may ask for the sum. A nil one is nobody's.
type account struct {
	mu   sync.Mutex
	past Traffic
	in   map[*esp.Inbound]bool
	out  map[*esp.Outbound]bool
}

func (a *account) enterIn(sa *esp.Inbound) {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.in == nil {
		a.in = make(map[*esp.Inbound]bool)
	}
	a.in[sa] = true
}

func (a *account) enterOut(sa *esp.Outbound) {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.out == nil {
		a.out = make(map[*esp.Outbound]bool)
	}
	a.out[sa] = true
}

// settleIn and settleOut keep what an SA has carried that goes. What a forwarder still does with it is not counted, so that the sum
// never becomes less.
func (a *account) settleIn(sa *esp.Inbound) {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.in[sa] {
		packets, bytes := sa.Stats()
		a.past.PacketsIn, a.past.BytesIn = a.past.PacketsIn+packets, a.past.BytesIn+bytes
		delete(a.in, sa)
	}
}

func (a *account) settleOut(sa *esp.Outbound) {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.out[sa] {
		packets, bytes := sa.Stats()
		a.past.PacketsOut, a.past.BytesOut = a.past.PacketsOut+packets, a.past.BytesOut+bytes
		delete(a.out, sa)
	}
}

// total is the sum.
func (a *account) total() Traffic {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.past
	for sa := range a.in {
		packets, bytes := sa.Stats()
		t.PacketsIn, t.BytesIn = t.PacketsIn+packets, t.BytesIn+bytes
	}
	for sa := range a.out {
		packets, bytes := sa.Stats()
		t.PacketsOut, t.BytesOut = t.PacketsOut+packets, t.BytesOut+bytes
	}
	return t
}
