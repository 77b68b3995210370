package convert

import (
	"regexp"
	"strings"
)

// onlyLibreswan are settings that strongSwan does not have; the names are without left and right.
var onlyLibreswan = set("ikev2 phase2alg salifetime subnets encapsulation addresspool modecfgclient modecfgserver narrowing initial-contact pfs phase2 rsasigkey ms-dh-downgrade dpd-timeout nic-offload ipsec-interface retransmit-timeout retransmit-interval")

// carriedKeys are the settings that have a counterpart, without left and right.
var carriedKeys = set("auto type keyexchange ikev2 authby auth ike esp phase2alg phase2 ikelifetime lifetime keylife salifetime ipsec-lifetime margintime rekeymargin " +
	"rekey reauth lifebytes lifepackets ipsec-max-bytes ipsec-max-packets id subnet subnets protoport sourceip addresspool dns modecfgdns modecfgclient ikeport dpdaction dpddelay " +
	"closeaction keyingtries mobike fragmentation forceencaps encapsulation inactivity tfc replay_window replay-window compress pfs also uniqueids")

// notCarried says of settings why they have no counterpart, without left and right.
var notCarried = map[string]string{
	"dpdtimeout": "it is for IKEv1; in IKEv2 a peer counts as dead when a request stays unanswered, see retransmit_tries",
	"dpddelay":   "with dpdaction=none strongSwan probes nobody; Culvert probes after 30 s of silence",
	"rekeyfuzz":  "how much earlier an SA may be renewed by chance is rand_time; Culvert's default is used",
	"compress":   "packets are not compressed",
	"aggressive": "it is of IKEv1", "modeconfig": "it is of IKEv1", "xauth": "it is of IKEv1", "xauth_identity": "it is of IKEv1", "ikev1-policy": "it is of IKEv1",
	"xauthclient": "it is of IKEv1", "xauthserver": "it is of IKEv1", "xauthusername": "it is of IKEv1", "nat-ikev1-method": "it is of IKEv1", "modecfgpull": "it is of IKEv1",
	"cert": noCertificates, "cert2": noCertificates, "ca": noCertificates, "ca2": noCertificates, "sendcert": noCertificates, "sigkey": noCertificates, "rsasigkey": noCertificates,
	"certpolicy": noCertificates, "groups": noCertificates, "auth2": "there is one round of authentication", "id2": "there is one round of authentication",
	"eap_identity": "EAP is not used", "aaa_identity": "EAP is not used",
	"updown": noScripts, "firewall": noScripts, "hostaccess": noScripts,
	"nexthop": "packets follow the routes of the host", "allowany": "remote_addrs says from where a peer may call: add %any to it",
	"installpolicy": "policies are always in force", "mark": kernel, "mark_in": kernel, "mark_out": kernel, "mark-in": kernel, "mark-out": kernel, "reqid": kernel, "if_id": kernel,
	"if_id_in": kernel, "if_id_out": kernel, "vti-interface": kernel, "vti-routing": kernel, "vti-shared": kernel, "vti": kernel, "ipsec-interface": kernel, "nic-offload": kernel, "hw_offload": kernel,
	"priority": kernel, "marginbytes": "Culvert's default is used, a tenth", "marginpackets": "Culvert's default is used, a tenth",
	"mediation": "mediation is not implemented", "mediated_by": "mediation is not implemented", "me_peerid": "mediation is not implemented",
	"modecfgserver": "addresses are lent if there is a pool", "narrowing": "selectors are narrowed always, as RFC 7296 has it", "initial-contact": "INITIAL_CONTACT is sent always, unless unique = never",
	"sha2-truncbug": "the truncation of a draft before RFC 4868 is not implemented", "ikepad": "it is of IKEv1", "nat-keepalive": "a NAT in front of this side is always kept open",
	"ikedscp": "IKE messages are sent without a DSCP", "esn": "esn and noesn are words of a proposal", "overlapip": "of equal selectors the first that is up has the traffic, or the one with a priority",
	"failureshunt": "traffic without its tunnel is dropped", "negotiationshunt": "traffic without its tunnel is dropped",
}

const (
	noCertificates = "certificates are not used"
	noScripts      = "scripts are not run, and firewalls are not touched"
	kernel         = "it is for IPsec in the kernel; selectors alone say what enters a tunnel"
)

func set(words string) map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(words) {
		m[w] = true
	}
	return m
}

// libreswanWords are algorithms that libreswan writes otherwise than strongSwan.
var libreswanWords = map[string]string{"sha2": "sha256", "sha2_256": "sha256", "sha2_384": "sha384", "sha2_512": "sha512", "sha": "sha1",
	"aes_xcbc": "aesxcbc", "aes_cmac": "aescmac", "chacha20_poly1305": "chacha20poly1305", "aes": "aes256-aes128", "aes_cbc": "aes256-aes128",
	"aes_gcm": "aes256gcm16-aes128gcm16", "aes_gcm_c": "aes256gcm16-aes128gcm16", "aes_gcm_b": "aes256gcm12-aes128gcm12", "aes_gcm_a": "aes256gcm8-aes128gcm8",
	"aes_ccm": "aes256ccm16-aes128ccm16", "aes_ctr": "aes256ctr-aes128ctr", "null": "", "none": "", "esn": "esn"}

// sized are the ciphers with a length of the key: aes_gcm256, aes_gcm_16_256, aes_cbc128, aes_gcm_c-256 (of which the dash is gone).
var sized = regexp.MustCompile(`^aes_(gcm|ccm|ctr|cbc)(?:_(a|b|c|8|12|16))?_?(128|192|256)$`)

var icv = map[string]string{"a": "8", "b": "12", "c": "16", "8": "8", "12": "12", "16": "16", "": "16"}

var loneSize = regexp.MustCompile(`(aes_(?:gcm|ccm|ctr|cbc)(?:_[abc])?|aes)-(128|192|256)\b`)

// fromLibreswan writes a proposal of libreswan's in the words of strongSwan.
func fromLibreswan(text string) string {
	text = loneSize.ReplaceAllString(strings.ToLower(text), "${1}_$2")
	var words []string
	for _, w := range strings.FieldsFunc(text, func(r rune) bool { return r == '-' || r == ';' || r == '+' }) {
		w = strings.Replace(w, "aes_128", "aes128", 1)
		w = strings.Replace(strings.Replace(w, "aes_192", "aes192", 1), "aes_256", "aes256", 1)
		if m := sized.FindStringSubmatch(w); m != nil {
			switch m[1] {
			case "cbc":
				w = "aes" + m[3]
			case "ctr":
				w = "aes" + m[3] + "ctr"
			default:
				w = "aes" + m[3] + m[1] + icv[m[2]]
			}
		} else if other, ok := libreswanWords[w]; ok {
			w = other
		} else if n, ok := strings.CutPrefix(w, "dh"); ok && groups[n] != "" {
			w = groups[n]
		}
		if w != "" {
			words = append(words, w)
		}
	}
	return strings.Join(words, "-")
}

// keyExchange is the first word of a proposal that is one.
func keyExchange(text string) string {
	for _, w := range strings.Split(text, "-") {
		for _, g := range groups {
			if w == g || w == "x25519" {
				return w
			}
		}
	}
	return ""
}
