package convert

import (
	"strings"

	"github.com/culvert-vpn/culvert/suite"
)

// groups are the words of strongSwan for the numbers of the key exchanges.
var groups = map[string]string{"1": "modp768", "2": "modp1024", "5": "modp1536", "14": "modp2048", "15": "modp3072", "16": "modp4096", "17": "modp6144",
	"18": "modp8192", "19": "ecp256", "20": "ecp384", "21": "ecp521", "22": "modp1024s160", "23": "modp2048s224", "24": "modp2048s256", "25": "ecp192",
	"26": "ecp224", "27": "ecp224bp", "28": "ecp256bp", "29": "ecp384bp", "30": "ecp512bp", "31": "curve25519", "32": "curve448"}

// VyOS's defaults, which its templates fill in.
const (
	defaultEncryption  = "aes128"
	defaultHash        = "sha1"
	defaultGroup       = "2"
	defaultIKELifetime = "28800"
	defaultESPLifetime = "3600"
)

// ike carries an ike-group over into a connection.
func (v *vyos) ike(c *section, p, group *node) {
	if group == nil {
		v.drop(p.get("ike-group"), "the source has no ike-group of that name: Culvert's default proposals and times are used")
		return
	}
	p.take("ike-group")
	group.mark()
	switch {
	case group.peek("key-exchange") != "":
		group.take("key-exchange")
	case !v.version4 && p.get("remote-address") == nil:
		v.note("", group.line, "ike-group "+brief(group.word), oldDefault)
	}
	c.set("proposals", v.proposals(suite.IKE, group, ""))
	lifetime := group.take("lifetime")
	if lifetime == "" {
		lifetime = defaultIKELifetime
	}
	reauth := group.has("ikev2-reauth") && group.take("ikev2-reauth") != "no"
	switch p.take("ikev2-reauth") {
	case "yes":
		reauth = true
	case "no":
		reauth = false
	}
	if reauth {
		c.set("reauth_time", lifetime+"s")
	} else {
		c.set("rekey_time", lifetime+"s")
	}
	if group.has("disable-mobike") || group.take("mobike") == "disable" {
		c.set("mobike", "no")
	}
	if interval := group.take("dead-peer-detection", "interval"); interval != "" {
		c.set("dpd_delay", interval+"s")
	}
	v.drop(group.get("dead-peer-detection", "timeout"), "it is for IKEv1; in IKEv2 a peer counts as dead when a request stays unanswered, see retransmit_tries")
	v.drop(group.get("mode"), "main and aggressive mode are of IKEv1")
}

// proposals carries the proposals of a group over. pfs is the key exchange of an esp-group; "" without one.
func (v *vyos) proposals(proto suite.Protocol, group *node, pfs string) string {
	var list []string
	for _, p := range group.tags("proposal") {
		words := []string{or(p.peek("encryption"), defaultEncryption), or(p.peek("hash"), defaultHash)}
		if prf := p.peek("prf"); prf != "" {
			words = append(words, prf)
		}
		switch {
		case proto == suite.IKE:
			words = append(words, or(groups[or(p.peek("dh-group"), defaultGroup)], "group"+p.peek("dh-group")))
		case pfs != "":
			words = append(words, pfs)
		}
		text := strings.Join(words, "-")
		if _, err := suite.ParseProposal(proto, text); err != nil {
			v.drop(p, "this proposal is left out: %s", strings.ReplaceAll(err.Error(), "\n", "; "))
			continue
		}
		group.mark()
		p.mark()
		for _, key := range []string{"encryption", "hash", "prf", "dh-group"} {
			p.take(key)
		}
		list = append(list, text)
	}
	if list == nil {
		v.note("", group.line, brief(group.parent.word+" "+group.word), "it has no proposal that Culvert knows: its default ones are used, so the other side needs one of aes256, sha256 and dh-group 14, or stronger")
	}
	return strings.Join(list, ", ")
}

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// pfs is the word for the key exchange of an esp-group: by default that of the first proposal of the ike-group.
func pfs(esp, ike *node) string {
	switch choice := esp.peek("pfs"); {
	case choice == "disable":
		return ""
	case strings.HasPrefix(choice, "dh-group"):
		return or(groups[strings.TrimPrefix(choice, "dh-group")], choice)
	}
	if list := ike.tags("proposal"); len(list) > 0 {
		return groups[or(list[0].peek("dh-group"), defaultGroup)]
	}
	return ""
}

// esp carries an esp-group over into a child.
func (v *vyos) esp(child *section, from, ike *node, name string) (transport bool) {
	esp := v.group("esp-group", name)
	if esp == nil {
		if name != "" {
			v.note("", from.line, "esp-group "+brief(name), "the source has no esp-group of that name: Culvert's default proposals and times are used")
		}
		return false
	}
	esp.mark()
	child.set("esp_proposals", v.proposals(suite.ESP, esp, pfs(esp, ike)))
	esp.take("pfs")
	lifetime := or(esp.take("lifetime"), defaultESPLifetime)
	child.set("life_time", lifetime+"s")
	child.set("life_bytes", esp.take("life-bytes"))
	child.set("life_packets", esp.take("life-packets"))
	if esp.has("disable-rekey") {
		child.set("rekey_time", "0")
		if esp.peek("life-bytes") != "" {
			child.set("rekey_bytes", "0")
		}
		if esp.peek("life-packets") != "" {
			child.set("rekey_packets", "0")
		}
	}
	if esp.peek("compression") == "enable" || esp.get("compression") != nil && esp.peek("compression") == "" {
		v.drop(unreadOf(esp.get("compression")), "packets are not compressed")
	} else {
		esp.take("compression")
	}
	return esp.take("mode") == "transport"
}
