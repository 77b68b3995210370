package ike

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"

	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/natt"
	"github.com/culvert-vpn/culvert/suite"
)

// Quick crash detection (RFC 6290): both ends give each other a token with each IKE SA that only they can make again, after they lost
// everything else. Whoever is asked in an IKE SA that he does not know shows the token in the clear, and the other end knows for
// certain that the IKE SA is lost.

const (
	// tokenLen is the length of our tokens in bytes. The answer to the shortest request in an IKE SA, a sign of life, must hold one.
	tokenLen = 16
	// minToken and maxToken bound those of the peer (RFC 6290 5).
	minToken, maxToken = 16, 128
	// maxTokens is how many of one message are looked at (RFC 6290 4.5).
	maxTokens = 4
)

// token is made of what names the IKE SA and of what survives a restart (RFC 6290 5.1).
func (e *Endpoint) token(spiI, spiR uint64) []byte {
	mac := hmac.New(sha256.New, e.cfg.TokenSecret)
	mac.Write(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, spiI), spiR))
	return mac.Sum(nil)[:tokenLen]
}

// tokenNotify gives the peer our token for the IKE SA; nil if we do not make any.
func (sa *ikeSA) tokenNotify() []wire.Payload {
	if len(sa.end.cfg.TokenSecret) == 0 || !sa.conn.CrashDetection {
		return nil
	}
	return []wire.Payload{&wire.Notify{Protocol: suite.IKE, Kind: wire.QUICK_CRASH_DETECTION, Data: sa.end.token(sa.spiI, sa.spiR)}}
}

// takeToken keeps the peer's token for the IKE SA, if there is one in an authentic message. The last one counts (RFC 6290 4.4).
func (sa *ikeSA) takeToken(c *content) {
	n := c.notify(wire.QUICK_CRASH_DETECTION)
	if n == nil || !sa.conn.CrashDetection || len(n.Data) < minToken || len(n.Data) > maxToken {
		return
	}
	clear(sa.token)
	sa.token = clone(n.Data)
}

// dropToken forgets it with the IKE SA (RFC 6290 5.3).
func (sa *ikeSA) dropToken() {
	clear(sa.token)
	sa.token = nil
}

// showToken tells the sender of a request in an IKE SA that does not exist here (RFC 7296 2.21.4), with the token for it if that fits
// into an answer that is no longer than the request (RFC 6290 4.5).
func (e *Endpoint) showToken(d Datagram, h wire.Header) {
	list := notifyOf(wire.INVALID_IKE_SPI)
	// Somebody may turn the Initiator flag of a message around, so that the IKE SA is not found: its token must not be shown
	// (RFC 6290 9.2).
	if len(e.cfg.TokenSecret) > 0 && e.sas[h.SPIi] == nil && e.sas[h.SPIr] == nil {
		both := append(list, &wire.Notify{Protocol: suite.IKE, Kind: wire.QUICK_CRASH_DETECTION, Data: e.token(h.SPIi, h.SPIr)})
		if noticeLen(both) <= len(d.Data) {
			list = both
		}
	}
	e.notice(d, h, list...)
}

// noticeLen is how long a notice will be.
func noticeLen(payloads []wire.Payload) int {
	return len(wire.AppendMessage(nil, wire.Header{}, payloads))
}

// proves reports whether a message in the clear shows the token of the IKE SA; shows whether it shows any (RFC 6290 4.5).
func (sa *ikeSA) proves(c *content) (proved, shows bool) {
	n := 0
	for _, p := range c.notifies {
		if p.Kind != wire.QUICK_CRASH_DETECTION {
			continue
		}
		shows = true
		if n++; n <= maxTokens && sa.token != nil && hmac.Equal(p.Data, sa.token) {
			proved = true
		}
	}
	return proved, shows
}

// lost is called when the peer proved that it lost the IKE SA: nothing is left to say in it (RFC 6290 3).
func (sa *ikeSA) lost() {
	if sa.conn != nil && sa.isCurrent() {
		sa.end.keeperOf(sa.conn).lived(sa, peerRestarted)
	}
	sa.forsaken(Event{Kind: Failed, Text: "the peer has restarted and lost the IKE SA"})
}

// room for the token in the answer to a sign of life, which is too short by itself. Any message may have a Vendor ID (RFC 7296 3.12).
func (sa *ikeSA) roomForToken() []wire.Payload {
	if sa.token == nil {
		return nil
	}
	return []wire.Payload{&wire.Vendor{Data: []byte(vendorID)}}
}

// stray tells the sender of ESP that we do not have the Child SA, unless we have an IKE SA with somebody there: then it is a latecomer
// (RFC 7296 1.5). It is a hint that anybody may have caused and that nobody believes, so it is not worth more bytes than came.
func (e *Endpoint) stray(in Stray) {
	payloads := []wire.Payload{&wire.Notify{Kind: wire.INVALID_SPI, Data: spiBytes(in.SPI)}}
	b := wire.AppendMessage(nil, wire.Header{Exchange: wire.INFORMATIONAL, Initiator: true}, payloads)
	if e.shutting || len(b) > in.Len || !e.strays.allow(e.now, in.Path.Remote.Addr()) || e.isWith(in.Path) {
		return
	}
	e.send("", in.Path, e.pack([][]byte{b}, payloads), 0)
}

// isWith reports whether there is an IKE SA with somebody at the other end of a path.
func (e *Endpoint) isWith(p natt.Path) bool {
	for sa := range e.order.all() {
		if sa.isEstablished() && sa.path.Remote.Addr() == p.Remote.Addr() {
			return true
		}
	}
	return false
}
