package ts

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
)

// u128 is an address as a number: IPv6 whole, IPv4 in the low 32 bits. Families are never mixed.
type u128 struct{ hi, lo uint64 }

func number(a netip.Addr) u128 {
	if a.Is4() {
		b := a.As4()
		return u128{lo: uint64(binary.BigEndian.Uint32(b[:]))}
	}
	b := a.As16()
	return u128{hi: binary.BigEndian.Uint64(b[:8]), lo: binary.BigEndian.Uint64(b[8:])}
}

func (n u128) addr(is6 bool) netip.Addr {
	if !is6 {
		return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, uint32(n.lo))))
	}
	b := binary.BigEndian.AppendUint64(nil, n.hi)
	return netip.AddrFrom16([16]byte(binary.BigEndian.AppendUint64(b, n.lo)))
}

func (n u128) less(o u128) bool { return n.hi < o.hi || n.hi == o.hi && n.lo < o.lo }

func (n u128) compare(o u128) int {
	switch {
	case n.less(o):
		return -1
	case o.less(n):
		return 1
	}
	return 0
}

func (n u128) add(o u128) u128 {
	lo, carry := bits.Add64(n.lo, o.lo, 0)
	hi, _ := bits.Add64(n.hi, o.hi, carry)
	return u128{hi, lo}
}

func (n u128) sub(o u128) u128 {
	lo, borrow := bits.Sub64(n.lo, o.lo, 0)
	hi, _ := bits.Sub64(n.hi, o.hi, borrow)
	return u128{hi, lo}
}

// hostMask returns the number whose lowest n bits are 1, 0 <= n <= 128.
func hostMask(n int) u128 {
	if n > 64 {
		return u128{hi: 1<<(n-64) - 1, lo: 1<<64 - 1}
	}
	return u128{lo: 1<<n - 1} // Go shifts by 64 to 0, so that n = 64 gives all ones
}

// trailingZeros returns how many of the lowest bits are 0; 128 for zero.
func (n u128) trailingZeros() int {
	if n.lo != 0 {
		return bits.TrailingZeros64(n.lo)
	}
	return 64 + bits.TrailingZeros64(n.hi)
}

func lastAddr(p netip.Prefix) netip.Addr {
	a := p.Masked().Addr()
	return number(a).add(hostMask(a.BitLen() - p.Bits())).addr(a.Is6())
}

// Prefixes returns the smallest list of prefixes that covers exactly Start to End, in order: at most 62 for
// IPv4 and 254 for IPv6. It is empty if s is not valid.
func (s Selector) Prefixes() []netip.Prefix {
	if s.Valid() != nil {
		return nil
	}
	var out []netip.Prefix
	width := s.Start.BitLen()
	for at, end := number(s.Start), number(s.End); ; {
		// The greatest block that starts at `at` is limited by its alignment and by the end.
		host := min(at.trailingZeros(), width)
		for end.sub(at).less(hostMask(host)) {
			host--
		}
		out = append(out, netip.PrefixFrom(at.addr(s.Is6()), width-host))
		last := at.add(hostMask(host))
		if last == end { // not "past the end": the end may be the greatest number
			return out
		}
		at = last.add(u128{lo: 1})
	}
}

// prefix returns the one prefix that covers exactly Start to End, if there is one.
func (s Selector) prefix() (netip.Prefix, bool) {
	size := number(s.End).sub(number(s.Start))
	host := size.add(u128{lo: 1}).trailingZeros() // a full range of 128 bits wraps to 0: 128
	if size != hostMask(min(host, 128)) {
		return netip.Prefix{}, false
	}
	p := netip.PrefixFrom(s.Start, s.Start.BitLen()-host)
	return p, p.IsValid() && p.Masked() == p
}
