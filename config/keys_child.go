package config

import (
	"math"
	"strings"
	"time"

	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/suite"
)

// child is a section of children while it is read.
type child struct {
	*ike.Child
	time    limits[time.Duration]
	bytes   limits[uint64]
	packets limits[uint64]
}

// limits are the three limits of a lifetime in one unit.
type limits[T ~int64 | ~uint64] struct {
	rekey, life, rand written[T]
}

// resolve fills in what is not written. Each follows from the others as in strongSwan: life is rekey and a
// tenth, rekey is life less a tenth, rand is what lies between them. otherwise is rekey when neither is
// written.
func (l limits[T]) resolve(otherwise T) (rekey, life, rand T) {
	rekey, life = l.rekey.or(otherwise), l.life.v
	switch {
	case !l.life.ok:
		life = rekey + rekey/10
	case !l.rekey.ok:
		rekey = life - life/10
	}
	if life > rekey && rekey > 0 {
		rand = life - rekey
	}
	return rekey, life, l.rand.or(rand)
}

const kernelOnly = "it is for IPsec in the kernel, and Culvert runs in user space"

// childKeys are the keys of connections.<conn>.children.<child>.
var childKeys = []key[child]{
	{name: "esp_proposals", set: func(c *child, v string) (err error) {
		c.Proposals, err = parseProposals(suite.ESP, v)
		return err
	}},
	{name: "local_ts", set: func(c *child, v string) (err error) {
		c.LocalTS, err = parseSelectors(v)
		return err
	}},
	{name: "remote_ts", set: func(c *child, v string) (err error) {
		c.RemoteTS, err = parseSelectors(v)
		return err
	}},
	{name: "rekey_time", set: func(c *child, v string) error { return c.time.rekey.set(parseTime(v)) }},
	{name: "life_time", set: func(c *child, v string) error { return c.time.life.set(parseTime(v)) }},
	{name: "rand_time", set: func(c *child, v string) error { return c.time.rand.set(parseTime(v)) }},
	{name: "rekey_bytes", set: func(c *child, v string) error { return c.bytes.rekey.set(parseBytes(v)) }},
	{name: "life_bytes", set: func(c *child, v string) error { return c.bytes.life.set(parseBytes(v)) }},
	{name: "rand_bytes", set: func(c *child, v string) error { return c.bytes.rand.set(parseBytes(v)) }},
	{name: "rekey_packets", set: func(c *child, v string) error { return c.packets.rekey.set(parseNumber(v, maxVolume)) }},
	{name: "life_packets", set: func(c *child, v string) error { return c.packets.life.set(parseNumber(v, maxVolume)) }},
	{name: "rand_packets", set: func(c *child, v string) error { return c.packets.rand.set(parseNumber(v, maxVolume)) }},
	{name: "mode", set: setMode},
	{name: "start_action", set: func(c *child, v string) error { return setAction(&c.StartAction, v) }},
	{name: "close_action", set: func(c *child, v string) error { return setAction(&c.CloseAction, v) }},
	{name: "dpd_action", set: func(c *child, v string) error { return setAction(&c.DPDAction, v) }},
	{name: "replay_window", set: setReplayWindow},
	{name: "priority", set: setPriority},
	{name: "inactivity", set: func(c *child, v string) (err error) {
		c.Inactivity, err = parseTime(v)
		return err
	}},
	{name: "tfc_padding", set: setTFCPadding},
	{name: "copy_dscp", set: setCopyDSCP},

	{name: "ah_proposals", refused: "AH protects the outer addresses and cannot cross a NAT; use esp_proposals, which authenticate as well"},
	{name: "sha256_96", same: "no", refused: "the truncation to 96 bits of a draft before RFC 4868 is not implemented"},
	{name: "updown", refused: "scripts are not run; Culvert installs its routes itself"},
	{name: "hostaccess", same: "no", ignored: "it is an argument of updown scripts, which are not run"},
	{name: "policies", same: "yes", refused: "without its policies no traffic would enter the tunnel"},
	{name: "policies_fwd_out", same: "no", ignored: kernelOnly},
	{name: "ipcomp", same: "no", ignored: "compression is not negotiated, packets are sent as they are"},
	{name: "reqid", same: "0", ignored: kernelOnly},
	{name: "interface", refused: kernelOnly + "; traffic selectors alone decide what enters the tunnel"},
	{name: "mark_in", same: "0 0/0 0/0x0 0/0x00000000 0x0/0x0", refused: kernelOnly + "; traffic selectors alone decide what enters the tunnel"},
	{name: "mark_out", same: "0 0/0 0/0x0 0/0x00000000 0x0/0x0", refused: kernelOnly + "; traffic selectors alone decide what enters the tunnel"},
	{name: "mark_in_sa", same: "no", refused: kernelOnly},
	{name: "set_mark_in", same: "0 0/0 0/0x0 0/0x00000000 0x0/0x0", refused: "packets from the tunnel are not marked"},
	{name: "set_mark_out", same: "0 0/0 0/0x0 0/0x00000000 0x0/0x0", refused: "packets to the peer carry the mark of the daemon, if it has one"},
	{name: "if_id_in", same: "0 0x0 0x00000000", refused: kernelOnly + "; traffic selectors alone decide what enters the tunnel"},
	{name: "if_id_out", same: "0 0x0 0x00000000", refused: kernelOnly + "; traffic selectors alone decide what enters the tunnel"},
	{name: "label", refused: "security labels are for IPsec in the kernel"},
	{name: "label_mode", same: "system", ignored: "security labels are for IPsec in the kernel"},
	{name: "per_cpu_sas", same: "no", ignored: kernelOnly},
	{name: "hw_offload", same: "no", ignored: kernelOnly},
	{name: "copy_df", same: "no", ignored: "datagrams to the peer are sent without DF, so that a tunnel works where path MTU discovery does not"},
	{name: "copy_ecn", same: "yes", ignored: "ECN is carried through the tunnel by the rules of RFC 6040"},
	{name: "icmp", same: "no", ignored: "ICMP errors about a tunnelled packet pass only where the traffic selectors let them"},
}

func setAction(a *ike.Action, v string) error {
	action, err := parseAction(v)
	if err == nil {
		*a = action
	}
	return err
}

// Modes that no Child SA has.
const (
	modePass ike.Mode = 0x80 + iota
	modeDrop
)

func setMode(c *child, v string) error {
	switch v {
	case "tunnel":
		c.Mode = ike.Tunnel
		return nil
	case "transport":
		c.Mode = ike.Transport
		return nil
	case "pass":
		c.Mode = modePass
		return nil
	case "drop":
		c.Mode = modeDrop
		return nil
	case "transport_proxy", "beet":
		return wrong("mode = tunnel", "mode %s is not implemented", v)
	}
	return wrong("mode = tunnel", "%q is not a mode", v)
}

// Bounds of the replay window in packets.
const minReplayWindow, maxReplayWindow = 32, 4096

func setReplayWindow(c *child, v string) error {
	n, err := parseNumber(v, math.MaxUint32)
	switch {
	case err != nil:
		return err
	case n == 0:
		return wrong("leave it out", "Culvert does not switch off replay protection: anybody could send a recorded packet again, and extended sequence numbers need the window (RFC 4303 3.3.3)")
	case n > maxReplayWindow:
		return wrong("32 to 4096", "a window of %d packets is too large", n)
	case n < minReplayWindow:
		c.ReplayWindow = minReplayWindow
		return note("", "the window is %d packets, the smallest that every receiver must know (RFC 4303 3.4.3)", minReplayWindow)
	}
	c.ReplayWindow = int(n)
	return nil
}

// maxPriority is the largest number that priority takes.
const maxPriority = 1 << 30

// setPriority turns the sense round: in the file, as in the kernel, the lowest number comes first, but none
// at all comes last.
func setPriority(c *child, v string) error {
	n, err := parseNumber(v, maxPriority)
	if err == nil && n > 0 {
		c.Priority = maxPriority + 1 - int(n)
	}
	return err
}

func setTFCPadding(c *child, v string) error {
	if v == "mtu" {
		c.TFCPadding = ike.TFCPathMTU
		return nil
	}
	n, err := parseNumber(v, math.MaxUint16)
	if err == nil {
		c.TFCPadding = int(n)
	}
	return err
}

func setCopyDSCP(c *child, v string) error {
	switch strings.ToLower(v) {
	case "in":
		c.CopyDSCP = ike.In
		return nil
	case "out":
		c.CopyDSCP = ike.Out
		return nil
	}
	both, err := parseBool(v)
	if err != nil {
		return wrong("out, in, yes or no", "%q is no direction", v)
	}
	c.CopyDSCP = 0
	if both {
		c.CopyDSCP = ike.In | ike.Out
	}
	return nil
}
