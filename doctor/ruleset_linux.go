package doctor

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"
)

// A ruleset is followed as the kernel does it, with a packet of which some things are known, and others, such as its source, are not.
// A rule that asks for these may match or not; so what comes out may be not known either.

// fate is what becomes of a packet, the worse the larger.
type fate int

const (
	passes fate = iota
	perhaps
	dropped
)

// packet is what is known of one: nil and "" are not known.
type packet struct {
	protocol byte
	port     []byte // destination, as in the header
	state    []byte // of connection tracking
	in, out  string // interfaces
	inIndex  int    // of in
}

type ruleset struct {
	chains map[chainName]*chain
	order  []*chain
	sets   map[chainName][]nftables.SetElement // by the name of the set in place of a chain's
}

type chainName struct {
	family nftables.TableFamily
	table  string
	name   string
}

// path is how nft(8) names the chain.
func (n chainName) path() string {
	family := "inet"
	if n.family == nftables.TableFamilyIPv4 {
		family = "ip"
	}
	return fmt.Sprintf("%s %s %s", family, n.table, n.name)
}

// String names it for people.
func (n chainName) String() string { return "chain " + n.path() + " of nftables" }

type chain struct {
	name  chainName
	hook  *nftables.ChainHook // nil: others jump to it
	rules []*nftables.Rule
	drops bool // what comes to its end
}

// run follows a packet through all chains at a hook: each of them has to let it pass. where is the chain to change.
func (r *ruleset) run(hook *nftables.ChainHook, p packet) (worst fate, where *chain) {
	for _, c := range r.order {
		if c.hook == nil || *c.hook != *hook {
			continue
		}
		w := &walk{ruleset: r, packet: p, budget: maxSteps}
		verdict := w.chain(c, 0)
		if verdict == ends && c.drops {
			verdict = drops
		}
		f := passes
		switch {
		case w.budget <= 0:
			f = perhaps
		case verdict == drops && !w.mayPass:
			f = dropped
		case verdict == drops, w.mayDrop:
			f = perhaps
		}
		if f > worst {
			worst, where = f, c
		}
	}
	return worst, where
}

// maxSteps is how many rules a packet goes through, maxJumps how deep chains call each other (the kernel allows 16).
const (
	maxSteps = 100_000
	maxJumps = 16
)

// verdict is what a rule or a chain decides.
type verdict int

const (
	ends    verdict = iota // nothing: on with the next
	accepts                // in this chain at the hook
	drops
	returns
)

// walk is the way of one packet through one chain at a hook, and those it calls.
type walk struct {
	*ruleset
	packet
	budget           int
	mayPass, mayDrop bool // by rules that may match
}

func (w *walk) chain(c *chain, depth int) verdict {
	if depth > maxJumps {
		return ends
	}
	for _, rule := range c.rules {
		if w.budget--; w.budget <= 0 {
			return ends
		}
		if v := w.rule(c, rule, depth); v == accepts || v == drops {
			return v
		} else if v == returns {
			return ends
		}
	}
	return ends
}

// rule applies one rule. What it decides if it may match is remembered, and the packet goes on as if it did not.
func (w *walk) rule(c *chain, rule *nftables.Rule, depth int) verdict {
	registers := map[uint32][]byte{} // what is not in it is not known
	sure := true
	decide := func(v verdict) verdict {
		if sure {
			return v
		}
		w.mayPass = w.mayPass || v == accepts || v == returns
		w.mayDrop = w.mayDrop || v == drops
		return ends
	}
	for _, e := range rule.Exprs {
		var is match
		switch e := e.(type) {
		case *expr.Verdict:
			return decide(w.verdict(c, e, depth))
		case *expr.Reject, *expr.Queue:
			return decide(drops)
		case *expr.Target:
			return decide(targets[e.Name])
		case *expr.Counter, *expr.Log, *expr.Objref, *expr.Notrack, *expr.Dup:
			continue
		case *expr.Lookup:
			element, known := w.lookup(c, e, registers)
			if is = known; e.IsDestRegSet && is == yes && element != nil {
				return decide(w.verdict(c, verdictOf(element), depth))
			}
			if e.IsDestRegSet && is == maybe {
				w.mayPass, w.mayDrop = true, true
				return ends
			}
		default:
			is = w.match(e, registers)
		}
		if is == no {
			return ends
		}
		sure = sure && is == yes
	}
	return ends
}

// targets are those of iptables.
var targets = map[string]verdict{"REJECT": drops, "DROP": drops, "ACCEPT": accepts, "RETURN": returns}

func (w *walk) verdict(c *chain, v *expr.Verdict, depth int) verdict {
	switch v.Kind {
	case expr.VerdictAccept, expr.VerdictStop:
		return accepts
	case expr.VerdictDrop, expr.VerdictQueue:
		return drops
	case expr.VerdictReturn:
		return returns
	case expr.VerdictJump, expr.VerdictGoto:
		name := c.name
		name.name = v.Chain
		next := w.chains[name]
		if next == nil {
			return ends
		}
		got := w.chain(next, depth+1)
		if got == ends && v.Kind == expr.VerdictGoto {
			return returns
		}
		return got
	}
	return ends
}

// match says whether the packet is what a rule asks for.
type match int

const (
	no match = iota
	yes
	maybe
)

func known(is bool) match {
	if is {
		return yes
	}
	return no
}

// match applies an expression: it fills registers, or compares them.
func (w *walk) match(e expr.Any, registers map[uint32][]byte) match {
	switch e := e.(type) {
	case *expr.Meta:
		if !e.SourceRegister {
			load(registers, e.Register, w.meta(e.Key))
		}
		return yes
	case *expr.Payload:
		if e.OperationType == expr.PayloadLoad {
			load(registers, e.DestRegister, w.payload(e))
		}
		return yes
	case *expr.Ct:
		var value []byte
		if e.Key == expr.CtKeySTATE {
			value = w.state
		}
		load(registers, e.Register, value)
		return yes
	case *expr.Immediate:
		load(registers, e.Register, e.Data)
		return yes
	case *expr.Bitwise:
		load(registers, e.DestRegister, bitwise(registers[e.SourceRegister], e.Mask, e.Xor))
		return yes
	case *expr.Cmp:
		return compare(registers[e.Register], e.Op, e.Data)
	case *expr.Range:
		have := registers[e.Register]
		if len(have) < len(e.FromData) || len(have) < len(e.ToData) || have == nil {
			return maybe
		}
		inside := bytes.Compare(have[:len(e.FromData)], e.FromData) >= 0 && bytes.Compare(have[:len(e.ToData)], e.ToData) <= 0
		return known(inside == (e.Op == expr.CmpOpEq))
	case *expr.Match:
		return w.extension(e)
	}
	return maybe
}

func load(registers map[uint32][]byte, register uint32, value []byte) {
	if delete(registers, register); value != nil {
		registers[register] = value
	}
}

func (w *walk) meta(key expr.MetaKey) []byte {
	switch {
	case key == expr.MetaKeyL4PROTO:
		return []byte{w.protocol}
	case key == expr.MetaKeyNFPROTO:
		return []byte{unix.NFPROTO_IPV4}
	case key == expr.MetaKeyPROTOCOL:
		return []byte{0x08, 0x00}
	case key == expr.MetaKeyIIFNAME && w.in != "":
		return interfaceName(w.in)
	case key == expr.MetaKeyIIF && w.inIndex > 0:
		return binary.NativeEndian.AppendUint32(nil, uint32(w.inIndex))
	case key == expr.MetaKeyOIFNAME && w.out != "":
		return interfaceName(w.out)
	}
	return nil
}

// interfaceName is a name as registers have it.
func interfaceName(name string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return b
}

func (w *walk) payload(e *expr.Payload) []byte {
	switch {
	case e.Base == expr.PayloadBaseTransportHeader && e.Offset == 2 && e.Len == 2:
		return w.port
	case e.Base == expr.PayloadBaseNetworkHeader && e.Offset == 9 && e.Len == 1: // the protocol of IPv4
		return []byte{w.protocol}
	}
	return nil
}

func bitwise(have, mask, xor []byte) []byte {
	if have == nil || len(have) < len(mask) || len(xor) != len(mask) {
		return nil
	}
	out := make([]byte, len(mask))
	for i := range mask {
		out[i] = have[i]&mask[i] ^ xor[i]
	}
	return out
}

func compare(have []byte, op expr.CmpOp, want []byte) match {
	if have == nil || len(have) < len(want) {
		return maybe
	}
	order := bytes.Compare(have[:len(want)], want)
	switch op {
	case expr.CmpOpEq:
		return known(order == 0)
	case expr.CmpOpNeq:
		return known(order != 0)
	case expr.CmpOpLt:
		return known(order < 0)
	case expr.CmpOpLte:
		return known(order <= 0)
	case expr.CmpOpGt:
		return known(order > 0)
	case expr.CmpOpGte:
		return known(order >= 0)
	}
	return maybe
}

// lookup looks a register up in a set. The elements of one with intervals are their begins and ends.
func (w *walk) lookup(c *chain, e *expr.Lookup, registers map[uint32][]byte) (found *nftables.SetElement, is match) {
	name := c.name
	name.name = e.SetName
	elements, ok := w.sets[name]
	have := registers[e.SourceRegister]
	if !ok || have == nil {
		return nil, maybe
	}
	var begin *nftables.SetElement // the nearest border below
	for i := range elements {
		el := &elements[i]
		if len(el.Key) > len(have) || len(el.KeyEnd) > 0 {
			return nil, maybe
		}
		switch order := bytes.Compare(el.Key, have[:len(el.Key)]); {
		case order == 0 && !el.IntervalEnd:
			found = el
		case order <= 0 && (begin == nil || bytes.Compare(el.Key, begin.Key) > 0):
			begin = el
		}
	}
	if found == nil && begin != nil && !begin.IntervalEnd && intervals(elements) {
		found = begin
	}
	return found, known((found != nil) != e.Invert)
}

// verdictOf is that of an element of a verdict map: attributes NFTA_VERDICT_CODE and NFTA_VERDICT_CHAIN, each with its length, type and
// data, filled up to 4 bytes.
func verdictOf(e *nftables.SetElement) *expr.Verdict {
	if e.VerdictData != nil {
		return e.VerdictData
	}
	v := &expr.Verdict{Kind: expr.VerdictContinue}
	for b := e.Val; len(b) >= unix.SizeofNlAttr; {
		length, kind := int(binary.NativeEndian.Uint16(b)), binary.NativeEndian.Uint16(b[2:])
		if length < unix.SizeofNlAttr || length > len(b) {
			break
		}
		switch data := b[unix.SizeofNlAttr:length]; {
		case kind == unix.NFTA_VERDICT_CODE && len(data) == 4:
			v.Kind = expr.VerdictKind(int32(binary.BigEndian.Uint32(data)))
		case kind == unix.NFTA_VERDICT_CHAIN:
			v.Chain = string(bytes.TrimRight(data, "\x00"))
		}
		b = b[min((length+3)&^3, len(b)):]
	}
	return v
}

func intervals(elements []nftables.SetElement) bool {
	for _, e := range elements {
		if e.IntervalEnd {
			return true
		}
	}
	return false
}

// extension is a match of iptables.
func (w *walk) extension(e *expr.Match) match {
	switch info := e.Info.(type) {
	case *xt.Udp:
		switch {
		case w.protocol != unix.IPPROTO_UDP:
			return no
		case w.port == nil || info.SrcPorts != [2]uint16{0, 0xffff}:
			return maybe
		}
		port := binary.BigEndian.Uint16(w.port)
		inside := info.DstPorts[0] <= port && port <= info.DstPorts[1]
		return known(inside == (info.InvFlags&xt.UdpInvDestPorts == 0))
	case *xt.ConntrackMtinfo3:
		return w.tracked(info.MatchFlags, info.InvertFlags, info.StateMask)
	case *xt.ConntrackMtinfo2:
		return w.tracked(info.MatchFlags, info.InvertFlags, info.StateMask)
	case *xt.Tcp:
		return map[bool]match{true: maybe, false: no}[w.protocol == unix.IPPROTO_TCP]
	case *xt.Comment:
		return yes
	}
	return maybe
}

// tracked is the match "conntrack" of iptables, as far as it asks for the state.
func (w *walk) tracked(flags, inverted, mask uint16) match {
	const state = uint16(xt.ConntrackState)
	if flags&^uint16(xt.ConntrackStateAlias) != state || w.state == nil {
		return maybe
	}
	is := binary.NativeEndian.Uint32(w.state)&uint32(mask) != 0
	return known(is == (inverted&state == 0))
}
