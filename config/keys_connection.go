package config

import (
	"math"
	"slices"
	"strings"
	"time"

	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/suite"
)

// written is a value that has a default which depends on other values.
type written[T any] struct {
	v  T
	ok bool
}

func (w *written[T]) set(v T, err error) error {
	if err == nil {
		w.v, w.ok = v, true
	}
	return err
}

func (w written[T]) or(otherwise T) T {
	if w.ok {
		return w.v
	}
	return otherwise
}

// connection is a section of connections while it is read.
type connection struct {
	*ike.Connection
	rekey, over, rand, reauth written[time.Duration]
	localPort                 written[uint16]
	pools                     []string
	retransmission
	makeFirst, follow written[bool]
}

const (
	ikev1Only   = "it is for IKEv1, and Culvert speaks IKEv2 only"
	noCerts     = "Culvert authenticates by pre-shared key and uses no certificates"
	certWanted  = "it asks the peer for a certificate, and Culvert authenticates by pre-shared key only"
	noEAP       = "Culvert does not use EAP or XAuth"
	noMediation = "mediation of connections is not implemented"
	ikeKernel   = "it is for IPsec in the kernel, and Culvert runs in user space"
	noRounds    = "Culvert knows one round of authentication"
)

// connectionKeys are the keys of connections.<conn>: strongSwan's, and those that Culvert has besides.
var connectionKeys = slices.Concat(swanctlKeys, ownKeys, retransmitKeys(func(c *connection) *retransmission { return &c.retransmission }))

var ownKeys = []key[connection]{
	{name: "crash_detection", set: func(c *connection, v string) (err error) {
		c.CrashDetection, err = parseBool(v)
		return err
	}},
	{name: "window_size", set: func(c *connection, v string) error {
		n, err := parseNumber(v, ike.MaxWindow)
		if err == nil && n == 0 {
			err = wrong("1 or more", "without a request nothing can be agreed upon")
		}
		c.Window = int(n)
		return err
	}},
	{name: "make_before_break", set: func(c *connection, v string) error { return c.makeFirst.set(parseBool(v)) }},
	{name: "follow_redirects", set: func(c *connection, v string) error { return c.follow.set(parseBool(v)) }},
}

// swanctlKeys are the keys that strongSwan knows there.
var swanctlKeys = []key[connection]{
	{name: "version", set: setVersion},
	{name: "local_addrs", set: setLocalAddrs},
	{name: "remote_addrs", set: setRemoteAddrs},
	{name: "local_port", set: func(c *connection, v string) error { return c.localPort.set(parsePort(v)) }},
	{name: "remote_port", set: func(c *connection, v string) error {
		port, err := parsePort(v)
		if err == nil {
			c.RemotePort = port
		}
		return err
	}},
	{name: "proposals", set: func(c *connection, v string) (err error) {
		c.Proposals, err = parseProposals(suite.IKE, v)
		return err
	}},
	{name: "encap", set: setEncap},
	{name: "mobike", set: func(c *connection, v string) (err error) {
		c.MOBIKE, err = parseBool(v)
		return err
	}},
	{name: "dpd_delay", set: func(c *connection, v string) (err error) {
		c.DPDDelay, err = parseTime(v)
		return err
	}},
	{name: "dpd_timeout", same: "0", ignored: ikev1Only + "; a peer counts as dead when all retransmissions stay unanswered, see retransmit_tries"},
	{name: "fragmentation", set: setFragmentation},
	{name: "childless", set: setChildless},
	{name: "keyingtries", set: setKeyingTries},
	{name: "unique", set: setUnique},
	{name: "reauth_time", set: func(c *connection, v string) error { return c.reauth.set(parseTime(v)) }},
	{name: "rekey_time", set: func(c *connection, v string) error { return c.rekey.set(parseTime(v)) }},
	{name: "over_time", set: func(c *connection, v string) error { return c.over.set(parseTime(v)) }},
	{name: "rand_time", set: func(c *connection, v string) error { return c.rand.set(parseTime(v)) }},

	{name: "aggressive", same: "no", ignored: ikev1Only},
	{name: "pull", same: "yes", ignored: ikev1Only},
	{name: "dscp", same: "000000", ignored: "IKE messages are sent without a DSCP"},
	{name: "send_certreq", same: "no", ignored: noCerts},
	{name: "send_cert", same: "never ifasked", ignored: noCerts},
	{name: "ocsp", same: "never reply", ignored: noCerts},
	{name: "vips", set: setVIPs},
	{name: "pools", set: func(c *connection, v string) error {
		c.pools = list(v)
		return nil
	}},
	{name: "ppk_id", refused: "post-quantum pre-shared keys (RFC 8784) are not implemented"},
	{name: "ppk_required", same: "no", refused: "post-quantum pre-shared keys (RFC 8784) are not implemented"},
	{name: "if_id_in", same: "0 0x0 0x00000000", refused: ikeKernel + "; its traffic selectors alone decide what enters the tunnel"},
	{name: "if_id_out", same: "0 0x0 0x00000000", refused: ikeKernel + "; its traffic selectors alone decide what enters the tunnel"},
	{name: "mediation", same: "no", refused: noMediation},
	{name: "mediated_by", refused: noMediation},
	{name: "mediation_peer", refused: noMediation},
}

// connectionSubs are the sections of connections.<conn>.
var connectionSubs = []sub{{name: "local*"}, {name: "remote*"}, {name: "children"}}

func setVersion(_ *connection, v string) error {
	switch v {
	case "0", "2":
		return nil
	case "1":
		return wrong("version = 2, on both sides", "Culvert speaks IKEv2 only; IKEv1 is obsolete (RFC 9395)")
	}
	return wrong("version = 2", "%q is no version of IKE", v)
}

func setLocalAddrs(c *connection, v string) error {
	a, err := parseAddresses(v)
	if err != nil {
		return err
	}
	for _, text := range list(v) {
		if text[0] != '%' && isHostname(text) {
			return wrong("an address, a subnet, a range or %any", "%q: a DNS name is not possible here", text)
		}
	}
	c.LocalAddrs = a.prefixes
	return nil
}

func setRemoteAddrs(c *connection, v string) error {
	a, err := parseAddresses(v)
	if err == nil {
		c.RemoteAddrs, c.RemoteHost = a.prefixes, a.host
	}
	return err
}

func parsePort(v string) (uint16, error) {
	n, err := parseNumber(v, math.MaxUint16)
	if err == nil && n == 0 {
		err = wrong("1 to 65535", "0 is no port")
	}
	return uint16(n), err
}

func setEncap(_ *connection, v string) error {
	on, err := parseBool(v)
	if err == nil && !on {
		return note("", "UDP encapsulation is used nevertheless: a program in user space cannot count on receiving bare ESP")
	}
	return err
}

func setKeyingTries(c *connection, v string) error {
	if strings.EqualFold(v, "%forever") {
		return wrong("0", "%q is written as 0 here", v)
	}
	n, err := parseNumber(v, math.MaxInt32)
	c.KeyingTries = int(n)
	return err
}

// setFragmentation: what force adds is for IKEv1.
func setFragmentation(c *connection, v string) error {
	how, ok := map[string]ike.Fragmentation{"yes": ike.FragmentationYes, "force": ike.FragmentationYes, "accept": ike.FragmentationAccept, "no": ike.FragmentationNo}[v]
	if !ok {
		return wrong("yes, accept, force or no", "%q does not say whether large IKE messages are sent in fragments", v)
	}
	c.Fragmentation = how
	return nil
}

func setChildless(c *connection, v string) error {
	how, ok := map[string]ike.Childless{"allow": ike.ChildlessAllow, "prefer": ike.ChildlessPrefer, "force": ike.ChildlessForce, "never": ike.ChildlessNever}[v]
	if !ok {
		return wrong("allow, prefer, force or never", "%q does not say whether the IKE SA is set up without a child", v)
	}
	c.Childless = how
	return nil
}

func setUnique(c *connection, v string) error {
	policy, ok := map[string]ike.Unique{"no": ike.UniqueNo, "never": ike.UniqueNever, "keep": ike.UniqueKeep, "replace": ike.UniqueReplace}[v]
	if !ok {
		return wrong("no, never, keep or replace", "%q is not a policy", v)
	}
	c.Unique = policy
	return nil
}
