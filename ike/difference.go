package ike

import (
	"reflect"
	"slices"
)

// Impact is what a change of the configuration does to what is up, from nothing to most.
type Impact uint8

// The impacts. Of several changes the greatest one counts.
const (
	InPlace        Impact = iota + 1 // it is in effect at once; the peer does not notice
	RekeyChild                       // the Child SAs get successors (RFC 7296 1.3.3)
	ReplaceChild                     // new Child SAs are negotiated, and then the old ones closed
	RekeyIKE                         // the IKE SA gets a successor (RFC 7296 1.3.2)
	Reauthenticate                   // a new IKE SA is set up, and then the old one closed
)

// String says it in words.
func (i Impact) String() string {
	return [...]string{"", "in place", "rekeyed", "negotiated anew", "IKE SA rekeyed", "set up anew"}[i]
}

// Difference is a key that has another value.
type Difference struct {
	Key    string // as in the configuration: "dpd_delay", "remote.id"
	Impact Impact
}

// facet is a part of a configured object that one key is about.
type facet[T any] struct {
	key    string
	impact Impact
	of     func(*T) any
}

// connectionFacets say what a change of each key of a connection does. The children have their own.
var connectionFacets = []facet[Connection]{
	{"local_addrs", Reauthenticate, func(c *Connection) any { return c.LocalAddrs }},
	{"remote_addrs", Reauthenticate, func(c *Connection) any { return c.RemoteAddrs }},
	{"remote_addrs", Reauthenticate, func(c *Connection) any { return c.RemoteHost }},
	{"local_port", Reauthenticate, func(c *Connection) any { return c.LocalPort }},
	{"remote_port", Reauthenticate, func(c *Connection) any { return c.RemotePort }},
	{"local.id", Reauthenticate, func(c *Connection) any { return c.LocalID }},
	{"remote.id", Reauthenticate, func(c *Connection) any { return c.RemoteID }},
	{"proposals", RekeyIKE, func(c *Connection) any { return c.Proposals }},
	{"rekey_time", InPlace, func(c *Connection) any { return c.RekeyTime }},
	{"reauth_time", InPlace, func(c *Connection) any { return c.ReauthTime }},
	{"make_before_break", InPlace, func(c *Connection) any { return c.BreakBeforeMake }},
	{"over_time", InPlace, func(c *Connection) any { return c.OverTime }},
	{"rand_time", InPlace, func(c *Connection) any { return c.RandTime }},
	{"dpd_delay", InPlace, func(c *Connection) any { return c.DPDDelay }},
	{"retransmit_timeout", InPlace, func(c *Connection) any { return c.Retransmit.Timeout }},
	{"retransmit_base", InPlace, func(c *Connection) any { return c.Retransmit.Base }},
	{"retransmit_tries", InPlace, func(c *Connection) any { return c.Retransmit.Tries }},
	{"retransmit_jitter", InPlace, func(c *Connection) any { return c.Retransmit.Jitter }},
	{"retransmit_limit", InPlace, func(c *Connection) any { return c.Retransmit.Limit }},
	{"window_size", Reauthenticate, func(c *Connection) any { return c.Window }},
	{"crash_detection", RekeyIKE, func(c *Connection) any { return c.CrashDetection }},
	{"follow_redirects", InPlace, func(c *Connection) any { return c.FollowRedirects }},
	{"mobike", Reauthenticate, func(c *Connection) any { return c.MOBIKE }},
	{"vips", Reauthenticate, func(c *Connection) any { return c.VIPs }},
	{"pools", InPlace, func(c *Connection) any { return c.Pools }}, // what is lent stays lent
	{"fragmentation", Reauthenticate, func(c *Connection) any { return c.Fragmentation }},
	{"childless", InPlace, func(c *Connection) any { return c.Childless }}, // it is about how an IKE SA begins
	{"unique", InPlace, func(c *Connection) any { return c.Unique }},
	{"keyingtries", InPlace, func(c *Connection) any { return c.KeyingTries }},
}

// childFacets say what a change of each key of a child does.
var childFacets = []facet[Child]{
	{"local_ts", ReplaceChild, func(c *Child) any { return c.LocalTS }},
	{"remote_ts", ReplaceChild, func(c *Child) any { return c.RemoteTS }},
	{"mode", ReplaceChild, func(c *Child) any { return c.Mode }},
	{"esp_proposals", RekeyChild, func(c *Child) any { return c.Proposals }},
	{"rekey_time", InPlace, func(c *Child) any { return c.Rekey.Time }},
	{"life_time", InPlace, func(c *Child) any { return c.Life.Time }},
	{"rand_time", InPlace, func(c *Child) any { return c.Rand.Time }},
	// The datapath counts to these, and has got them with the Child SA.
	{"rekey_bytes", RekeyChild, func(c *Child) any { return c.Rekey.Bytes }},
	{"life_bytes", RekeyChild, func(c *Child) any { return c.Life.Bytes }},
	{"rand_bytes", RekeyChild, func(c *Child) any { return c.Rand.Bytes }},
	{"rekey_packets", RekeyChild, func(c *Child) any { return c.Rekey.Packets }},
	{"life_packets", RekeyChild, func(c *Child) any { return c.Life.Packets }},
	{"rand_packets", RekeyChild, func(c *Child) any { return c.Rand.Packets }},
	{"replay_window", RekeyChild, func(c *Child) any { return c.ReplayWindow }},
	{"tfc_padding", RekeyChild, func(c *Child) any { return c.TFCPadding }},
	{"copy_dscp", RekeyChild, func(c *Child) any { return c.CopyDSCP }},
	{"inactivity", InPlace, func(c *Child) any { return c.Inactivity }},
	{"start_action", InPlace, func(c *Child) any { return c.StartAction }},
	{"close_action", InPlace, func(c *Child) any { return c.CloseAction }},
	{"dpd_action", InPlace, func(c *Child) any { return c.DPDAction }},
	{"priority", InPlace, func(c *Child) any { return c.Priority }},
}

// Differences are the keys in which next differs from c, each once. Names and children are not compared.
func (c *Connection) Differences(next *Connection) []Difference {
	return differences(connectionFacets, c, next)
}

// Differences are the keys in which next differs from c, each once. Names are not compared.
func (c *Child) Differences(next *Child) []Difference { return differences(childFacets, c, next) }

func differences[T any](facets []facet[T], a, b *T) []Difference {
	var list []Difference
	for _, f := range facets {
		d := Difference{Key: f.key, Impact: f.impact}
		if !same(f.of(a), f.of(b)) && !slices.Contains(list, d) {
			list = append(list, d)
		}
	}
	return list
}

// same compares values by meaning: no list is the same as an empty one.
func same(a, b any) bool {
	va, vb := reflect.ValueOf(a), reflect.ValueOf(b)
	if va.Kind() == reflect.Slice && va.Len() == 0 && vb.Len() == 0 {
		return true
	}
	return reflect.DeepEqual(a, b)
}

// greatest is the impact of several differences together; 0 if there are none.
func greatest(list []Difference) Impact {
	var impact Impact
	for _, d := range list {
		impact = max(impact, d.Impact)
	}
	return impact
}
