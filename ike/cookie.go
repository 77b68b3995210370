package ike

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/culvert-vpn/culvert/ike/wire"
)

// Limits on what senders whom nobody vouches for can make us keep and compute. A sender proves that it receives at its
// address with a cookie (RFC 7296 2.6, RFC 8019 4); docs/threats.md has the sums.
const (
	// cookieThreshold is how many IKE SAs may be half-open as responder, in all, until a cookie is asked of everybody.
	cookieThreshold = 30
	// cookieThresholdPerSource is the same for one source, and the cookie is asked of that source.
	cookieThresholdPerSource = 3
	// maxHalfOpen is how many there may be of senders who have proved where they are. One source may have as many of them as are left
	// for others: thousands of peers may call at once from behind one address, and whoever takes all he can get leaves half.
	maxHalfOpen = 1024
	// halfOpenTime is how long one waits for its IKE_AUTH request, and how long the answer to one that was refused is kept.
	halfOpenTime = 30 * time.Second
	// maxFirst is the length in bytes of the longest first message that is accepted: the responder has to keep it. RFC 7296 2
	// asks for 3000.
	maxFirst = 4096
)

const (
	// cookieLife is how long cookies are made with one secret; they are accepted until the secret after it retires.
	cookieLife = time.Minute
	// cookieMAC is the length of the part of a cookie that cannot be guessed.
	cookieMAC = 16
)

// cookies makes and checks cookies: the number of a secret | MAC(secret, SPIi | IPi | Ni). It keeps nothing of a request.
type cookies struct {
	secrets [2][]byte // the current one and the one before it; nil is none
	number  byte      // of the current one
	until   time.Time // when the current one retires
}

// rotate puts a new secret in place if it is time. A secret that was idle for a second life is not accepted any more.
func (c *cookies) rotate(now time.Time, random func(n int) []byte) {
	if c.secrets[0] != nil && now.Before(c.until) {
		return
	}
	clear(c.secrets[1])
	c.secrets[1] = c.secrets[0]
	if c.secrets[1] != nil && !now.Before(c.until.Add(cookieLife)) {
		clear(c.secrets[1])
		c.secrets[1] = nil
	}
	c.secrets[0] = random(sha256.Size)
	c.number++
	c.until = now.Add(cookieLife)
}

// bake makes the cookie for a first message with the current secret.
func (c *cookies) bake(f *wire.First, from netip.Addr) []byte { return c.bakeWith(0, f, from) }

func (c *cookies) bakeWith(age byte, f *wire.First, from netip.Addr) []byte {
	mac := hmac.New(sha256.New, c.secrets[age])
	var fixed [8 + 16]byte
	binary.BigEndian.PutUint64(fixed[:], f.Header.SPIi)
	address := from.As16()
	copy(fixed[8:], address[:])
	mac.Write(fixed[:])
	mac.Write(f.Nonce)
	return append([]byte{c.number - age}, mac.Sum(nil)[:cookieMAC]...)
}

// proves reports whether the cookie of a first message is one that we gave to its sender. rotate goes before it.
func (c *cookies) proves(f *wire.First, from netip.Addr) bool {
	if len(f.Cookie) != 1+cookieMAC {
		return false
	}
	age := c.number - f.Cookie[0]
	if int(age) >= len(c.secrets) || c.secrets[age] == nil {
		return false
	}
	return hmac.Equal(c.bakeWith(age, f, from), f.Cookie)
}

// source is on whose account a half-open IKE SA goes: an address of IPv4, or the /64 of IPv6 that one subscriber has (RFC 8019 4.2).
func source(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is4() {
		return a
	}
	p, _ := a.Prefix(64) // fails for the zero address only, which is a source too
	return p.Addr()
}

// accounts counts the IKE SAs of peers that are not authenticated, as responder.
type accounts struct {
	of  map[netip.Addr]int // by source
	all int
}

// suspicious reports whether a source has to prove where it is.
func (a *accounts) suspicious(src netip.Addr) bool {
	return a.all >= cookieThreshold || a.of[src] >= cookieThresholdPerSource
}

// full reports whether a source may have no more, or nobody may.
func (a *accounts) full(src netip.Addr) bool {
	return a.of[src] >= maxHalfOpen-a.all
}

func (a *accounts) add(src netip.Addr) {
	a.of[src]++
	a.all++
}

func (a *accounts) remove(src netip.Addr) {
	a.all--
	if a.of[src]--; a.of[src] <= 0 {
		delete(a.of, src)
	}
}
