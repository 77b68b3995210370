package ike

import (
	"fmt"
	"slices"
	"strings"

	"github.com/culvert-vpn/culvert/explain"
	"github.com/culvert-vpn/culvert/suite"
)

// negotiation is what the two ends have not agreed upon: where their lists are compared and configured.
type negotiation struct {
	conn  *Connection
	what  string   // of the lines of the comparison
	key   string   // of the configuration
	below []string // the section inside of the connection
	ours  []suite.Proposal
}

func (c *Connection) ikeNegotiation() negotiation {
	return negotiation{conn: c, what: "proposals of the IKE SA", key: "proposals", ours: c.Proposals}
}

func (c *Connection) childNegotiation(cfg *Child) negotiation {
	return negotiation{conn: c, what: "proposals of child " + cfg.Name, key: "esp_proposals", below: []string{"children", cfg.Name}, ours: cfg.Proposals}
}

// typeNames are what the types of transforms are called by people.
var typeNames = map[suite.Type]string{
	suite.TypeENCR: "encryption", suite.TypePRF: "pseudo-random function", suite.TypeINTEG: "integrity",
	suite.TypeKE: "key exchange (Diffie-Hellman group)", suite.TypeESN: "extended sequence numbers",
}

// noCommon tells that nothing of the peer's offers is in our list, and what is nearest.
func (n negotiation) noCommon(text string, offers []suite.Proposal) *explain.Diagnosis {
	d := &explain.Diagnosis{Cause: explain.NoProposal, Text: text, Compared: []explain.Compared{
		{What: n.what, Sent: proposalList(offers), Configured: strings.Join(offered(n.ours), ", ")},
	}}
	offer, our, lacking, ok := suite.Nearest(offers, n.ours)
	if !ok {
		d.Fixes = []explain.Fix{{Side: explain.Peer, Text: "have it offer algorithms: it offers none that could be read"}}
		return d
	}
	var missing []string
	for _, t := range lacking {
		word, known := typeNames[t]
		if !known {
			word = "further key exchanges (" + t.String() + ")"
		}
		missing = append(missing, word)
		d.Compared = append(d.Compared, explain.Compared{What: word, Sent: words(offer.All(t)), Configured: words(our.All(t))})
	}
	if len(missing) > 0 {
		d.Text += "; nothing in common in " + strings.Join(missing, ", ")
	}
	d.Fixes = n.approach(offer, our)
	return d
}

// noCommonIKE tells that no connection between two addresses has what the peer offers.
func noCommonIKE(conns []*Connection, offers []suite.Proposal) *explain.Diagnosis {
	lacks := func(c *Connection) int {
		_, _, lacking, _ := suite.Nearest(offers, c.Proposals)
		return len(lacking)
	}
	conns = slices.Clone(conns)
	slices.SortStableFunc(conns, func(a, b *Connection) int { return lacks(a) - lacks(b) })
	d := conns[0].ikeNegotiation().noCommon("no common proposal for the IKE SA: the peer offers "+proposalList(offers), offers)
	d.Connections = namesOf(conns)
	return d
}

// noCommonESP tells that a child has nothing of what the peer offers for it.
func (sa *ikeSA) noCommonESP(cfg *Child, offers, ours []suite.Proposal) *explain.Diagnosis {
	n := sa.conn.childNegotiation(cfg)
	n.ours = ours
	return n.noCommon(fmt.Sprintf("no common proposal for child %s: the peer offers %s", cfg.Name, proposalList(offers)), offers)
}

func proposalList(list []suite.Proposal) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(texts(list), ", ")
}

// words are transforms in the language of the configuration.
func words(list []suite.Transform) string {
	if len(list) == 0 {
		return "none"
	}
	return suite.Proposal{Transforms: list}.String()
}

// approach is the nearest change on either side. What is weak is to be the last resort.
func (n negotiation) approach(offer, our suite.Proposal) (fixes []explain.Fix) {
	weak := ""
	if p, ok := suite.Toward(offer, our); ok {
		list := append([]string{p.String()}, offered(n.ours)...)
		fixes = append(fixes, n.write(explain.Here, fmt.Sprintf("add %v to %s", p, n.key), list))
		for _, t := range p.Transforms {
			if w := t.Weakness(); w != "" && weak == "" {
				weak = w
			}
		}
	}
	if p, ok := suite.Toward(our, offer); ok {
		fixes = append(fixes, n.write(explain.Peer, fmt.Sprintf("set %s = %v", n.key, p), []string{p.String()}))
	}
	if weak != "" && len(fixes) == 2 {
		fixes[0].Text += ", though " + weak
		slices.Reverse(fixes)
	}
	return fixes
}

// write is a fix that sets the list of a side.
func (n negotiation) write(side explain.Side, text string, list []string) explain.Fix {
	return n.conn.change(side, text, []string{explain.SetList(n.key, list)}, n.below...)
}

// wider is what old devices have, and nobody should want.
const wider = "aes256-aes128-sha256-sha1-modp2048-modp1536-modp1024"

// refused tells that the peer found nothing in our list, and does not say what it has.
func (n negotiation) refused(text, sent string) *explain.Diagnosis {
	list := offered(n.ours)
	d := &explain.Diagnosis{
		Cause: explain.NoProposal, Text: text,
		Compared: []explain.Compared{{What: n.what, Sent: sent, Configured: strings.Join(list, ", ")}},
	}
	if !slices.Contains(list, "default") {
		d.Fixes = append(d.Fixes, n.write(explain.Here, "offer more: add default to "+n.key, append(list, "default")))
	} else {
		d.Fixes = append(d.Fixes, n.write(explain.Here, "offer to an old device what is weak, see what it takes, and have it replaced: add "+wider+" to "+n.key, append(list, wider)))
	}
	if len(n.ours) > 0 {
		if p, ok := suite.Toward(n.ours[0], n.ours[0]); ok {
			d.Fixes = append(d.Fixes, n.write(explain.Peer, fmt.Sprintf("set %s = %v", n.key, p), []string{p.String()}))
		}
	}
	return d
}

// sentNothing is what stands for the list of a peer that only refuses.
const sentNothing = "NO_PROPOSAL_CHOSEN: it takes none of ours, and does not say what it has"

// proposalsRefused: the peer's answer to IKE_SA_INIT is NO_PROPOSAL_CHOSEN. Many daemons say so too when they have no connection for
// an address, before they look at any proposal.
func (sa *ikeSA) proposalsRefused() *explain.Diagnosis {
	d := sa.conn.ikeNegotiation().refused("the peer refuses: NO_PROPOSAL_CHOSEN, the two ends have no algorithms in common, or the peer has no connection for our address", sentNothing)
	d.Fixes = append(d.Fixes, explain.Fix{Side: explain.Peer, Text: "see that a connection is configured for our address, as the peer sees it: its log tells the two reasons apart"})
	return d
}

// childProposalsRefused likewise, for a child. In IKE_AUTH no key exchange is negotiated for it (RFC 7296 1.2), so that different
// wishes about that show only when the child is rekeyed.
func (sa *ikeSA) childProposalsRefused(cfg *Child, rekey bool) *explain.Diagnosis {
	text := "the peer refuses: NO_PROPOSAL_CHOSEN, the two ends have no algorithms in common for child " + cfg.Name
	if rekey {
		text = fmt.Sprintf("the peer refuses: NO_PROPOSAL_CHOSEN to rekey child %s: the first Child SA goes without a key exchange of its own, so that what the two "+
			"sides want of perfect forward secrecy (the group in esp_proposals) differs only now", cfg.Name)
	}
	n := sa.conn.childNegotiation(cfg)
	d := n.refused(text, sentNothing)
	if rekey {
		without := n
		without.ours = nil
		for _, p := range cfg.Proposals {
			p = p.WithoutKE()
			without.ours = append(without.ours, p)
		}
		d.Fixes = append(d.Fixes, n.write(explain.Here, "do without perfect forward secrecy, if the peer does", offered(without.ours)))
	}
	return d
}

// otherProposals: the connection for who the peer turned out to be does not allow what was agreed upon before that was known.
func (sa *ikeSA) otherProposals(conn *Connection, text string) *explain.Diagnosis {
	n := conn.ikeNegotiation()
	d := n.noCommon(text, []suite.Proposal{sa.proposal})
	d.Compared[0].What = n.what + ", as agreed upon"
	d.Connections = []string{conn.Name}
	return d
}
