package ike

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/culvert-vpn/culvert/ike/wire"
)

// Redirects (RFC 5685), for the one who called: the gateway says which other one is to serve us, be it in its answer to IKE_SA_INIT, in
// that to IKE_AUTH, or later in INFORMATIONAL. A redirect is for the next call only; whom we call by configuration is the same as
// before, and so is what the peer has to prove (RFC 5685 3).

const (
	// maxRedirects are followed within redirectPeriod: MAX_REDIRECTS and REDIRECT_LOOP_DETECT_PERIOD of RFC 5685 7. After that we do
	// not say any more that we can be redirected, so that whom we call has to serve us (RFC 5685 3).
	maxRedirects   = 5
	redirectPeriod = 300 * time.Second
)

// redirect is where the next call of a connection goes.
type redirect struct {
	to     wire.Gateway
	detour detour
	renews *ikeSA // whose place the new IKE SA is to take; nil if none is up
}

// detour is how we came to another gateway than the one that is configured; the zero one says that we did not.
type detour struct {
	by   netip.Addr // who sent us
	from netip.Addr // whom we called first
}

// isTaken reports whether we were sent.
func (d detour) isTaken() bool { return d.by.IsValid() }

// host is whom to call next.
func (k *keeper) host() string {
	if k.sent != nil {
		return k.sent.to.String()
	}
	return k.conn.RemoteHost
}

// takesRedirects reports whether a call says that we can be redirected. One that was redirected says so in any case (RFC 5685 3).
func (k *keeper) takesRedirects(way detour) bool {
	k.forgetRedirects()
	return k.conn.FollowRedirects && k.conn.RemoteHost != "" && (way.isTaken() || len(k.redirects) < maxRedirects)
}

// refrain counts a way that led nowhere as all the redirects that are followed in a period, so that whom we call next has to serve us instead of
// sending us there again.
func (k *keeper) refrain() {
	k.forgetRedirects()
	for len(k.redirects) < maxRedirects {
		k.redirects = append(k.redirects, k.end.now)
	}
}

// forgetRedirects leaves those that count against the limit.
func (k *keeper) forgetRedirects() {
	k.redirects = slices.DeleteFunc(k.redirects, func(at time.Time) bool { return k.end.now.Sub(at) >= redirectPeriod })
}

// announceRedirects are the notifies of IKE_SA_INIT: REDIRECTED_FROM implies REDIRECT_SUPPORTED (RFC 5685 3, 9.3).
func (sa *ikeSA) announceRedirects() []wire.Payload {
	switch {
	case !sa.origin.redirectable:
		return nil
	case sa.origin.detour.isTaken():
		return []wire.Payload{&wire.Notify{Kind: wire.REDIRECTED_FROM, Data: wire.AppendGateway(nil, wire.Gateway{Addr: sa.origin.detour.by})}}
	}
	return notifyOf(wire.REDIRECT_SUPPORTED)
}

// judge counts a redirect by the peer of an IKE SA, and says why it is not followed. The text is empty if it is.
func (k *keeper) judge(sa *ikeSA, g wire.Gateway) (text, remedy string) {
	by := sa.path.Remote.Addr()
	k.forgetRedirects()
	if len(k.redirects) >= maxRedirects {
		return fmt.Sprintf("%v wants to send us to %v, after %d redirects within %v", by, g, maxRedirects, redirectPeriod),
			"the gateways send us around in circles: look where each of them redirects its peers to"
	}
	k.redirects = append(k.redirects, k.end.now)
	if g.Name != "" {
		return "", "" // its address is looked at when it is known
	}
	if text, remedy = k.refuses(g.Addr, by); text != "" {
		k.refrain()
	}
	return text, remedy
}

// refuses says why we do not go to an address; the text is empty if we do.
func (k *keeper) refuses(a, by netip.Addr) (text, remedy string) {
	broadcast := netip.AddrFrom4([4]byte{255, 255, 255, 255})
	switch {
	case a.IsUnspecified(), a.IsMulticast(), a == broadcast, a.Is6() && a.IsLinkLocalUnicast(), a.IsLoopback() && !by.IsLoopback():
		return fmt.Sprintf("%v wants to send us to %v, where no gateway can be", by, a), ""
	case slices.Contains(k.end.addrs, a):
		return fmt.Sprintf("%v wants to send us to %v, which is this host", by, a), ""
	case !k.conn.allowsGateway(a):
		return fmt.Sprintf("%v wants to send us to %v, which remote_addrs does not allow", by, a),
			fmt.Sprintf("add %v to remote_addrs, or set follow_redirects = no", a)
	}
	return "", ""
}

// allowsGateway reports whether we may be sent to an address. Whom we call is no limit by itself, since every redirect leads away from
// there; what else is in RemoteAddrs is one.
func (c *Connection) allowsGateway(a netip.Addr) bool {
	host, _ := netip.ParseAddr(c.RemoteHost)
	if a == host {
		return true
	}
	limit := slices.DeleteFunc(slices.Clone(c.RemoteAddrs), func(p netip.Prefix) bool { return p.IsSingleIP() && p.Addr() == host })
	return within(limit, a)
}

// follow calls where the peer of an IKE SA sends us.
func (k *keeper) follow(sa *ikeSA, g wire.Gateway, renews *ikeSA) {
	way := detour{by: sa.path.Remote.Addr(), from: sa.origin.detour.from}
	if !way.from.IsValid() {
		way.from = way.by
	}
	sa.event(Redirected, fmt.Sprintf("%v sends us to %v", way.by, g), "")
	k.sent = &redirect{to: g, detour: way, renews: renews}
	k.notYet = zeroTime
	k.stray = k.dialing
	k.changed()
}

// arrive goes on with the path to where we were sent. It reports whether that is for an IKE SA which is up, and is done.
func (k *keeper) arrive(r *redirect, res *Resolved) (done bool) {
	if res.Err == nil {
		if text, remedy := k.refuses(res.Path.Remote.Addr(), r.detour.by); text != "" {
			res.Err = errors.New(strings.TrimSuffix(text+"; "+remedy, "; "))
		}
	}
	if res.Err != nil {
		k.refrain()
	}
	if r.renews == nil {
		return false
	}
	old := r.renews.heir()
	switch {
	case !old.isCurrent() || old.renewing != nil:
		return false
	case res.Err != nil:
		k.end.emit(Event{Kind: Failed, Conn: k.conn.Name, Text: res.Err.Error()})
		old.renewLater()
		old.renewalFailed(res.Err.Error())
	default:
		old.renew(k.conn, res.Path, r.detour)
	}
	return true
}

// takeRedirect goes where the answer to IKE_SA_INIT sends us. Anybody who saw the request may have sent it (RFC 5685 3, 11).
func (s *expectInitReply) takeRedirect(sa *ikeSA, d Datagram, n *wire.Notify) {
	g, nonce, ok := wire.ParseRedirect(n.Data)
	switch {
	case !sa.origin.redirectable:
		sa.end.drop(d, "REDIRECT that was not asked for")
		return
	case !ok:
		sa.end.drop(d, "malformed REDIRECT")
		return
	case !bytes.Equal(nonce, s.nonce):
		sa.end.drop(d, "REDIRECT with another nonce than ours")
		return
	}
	k := sa.end.keeperOf(sa.conn)
	if text, remedy := k.judge(sa, g); text != "" {
		sa.fail(text, remedy)
		return
	}
	k.follow(sa, g, sa.leaveRenewal())
	sa.remove()
}

// takeRedirect goes where the answer to IKE_AUTH sends us, of a peer that is authenticated; its IKE SA is deleted (RFC 5685 6). It
// reports whether the answer does that.
func (s *expectAuthReply) takeRedirect(sa *ikeSA, c *content) bool {
	n := c.notify(wire.REDIRECT)
	if n == nil || !sa.origin.redirectable {
		return false
	}
	g, _, ok := wire.ParseRedirect(n.Data)
	if !ok {
		sa.event(Warned, "malformed REDIRECT", "")
		return false
	}
	k := sa.end.keeperOf(sa.conn)
	if text, remedy := k.judge(sa, g); text != "" {
		s.leave(sa)
		sa.event(Failed, text, remedy)
		sa.attemptFailed(text)
	} else {
		k.follow(sa, g, sa.leaveRenewal())
	}
	s.renounce(sa, fmt.Sprintf("the peer sends us to %v", g))
	s.part(sa, c)
	return true
}

// takeRedirect goes where the peer sends us in INFORMATIONAL, make before break, unless the connection wants it the other way round
// (RFC 5685 5). Only whom we called may do that (RFC 5685 10).
func (sa *ikeSA) takeRedirect(c *content) {
	n := c.notify(wire.REDIRECT)
	sa = sa.heir()
	if n == nil || !sa.isCurrent() || sa.outdated {
		return
	}
	g, _, ok := wire.ParseRedirect(n.Data)
	k := sa.end.keeperOf(sa.conn)
	switch {
	case !ok:
		sa.event(Warned, "malformed REDIRECT", "")
		return
	case !sa.origin.redirectable || !sa.conn.FollowRedirects:
		sa.event(Warned, fmt.Sprintf("the peer wants to send us to %v, although we did not say that we can be redirected", g), "")
		return
	case k.sent != nil && k.sent.renews == sa && k.sent.to == g:
		return
	}
	if text, remedy := k.judge(sa, g); text != "" {
		sa.event(Warned, text, remedy)
		return
	}
	if next := sa.renewing; next != nil {
		next.close("the peer sends us elsewhere")
		sa.end.touch(next)
	}
	sa.sentAway = true
	if policies := sa.policies(); sa.conn.BreakBeforeMake || len(policies) == 0 {
		k.follow(sa, g, nil)
		for _, cfg := range policies {
			k.want(cfg)
		}
		sa.close("the peer sends us elsewhere")
		return
	}
	k.follow(sa, g, sa)
}
