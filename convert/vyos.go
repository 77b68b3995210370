package convert

import (
	"errors"
	"net/netip"
	"strings"

	"github.com/culvert-vpn/culvert/internal/conftext"
)

// VyOS converts the `vpn ipsec` of a VyOS configuration, of any version: with braces as in config.boot, or as set commands. The rest
// of the configuration may be there too, and is listed. An error says that the source cannot be read at all.
//
// What the statements mean is what the versions make of them: 1.3 and before wrote ipsec.conf and ipsec.secrets, 1.4 and later write
// swanctl.conf.
func VyOS(source []byte) (*Result, error) {
	root, skipped, err := parseVyOS(string(source))
	if err != nil {
		return nil, err
	}
	v := &vyos{document: newDocument(), root: root}
	if v.ipsec = v.find(root); v.ipsec == nil {
		return nil, errors.New("there is no vpn ipsec in it")
	}
	for _, s := range skipped {
		v.note("", s.line, brief(s.word)+" ...", "only set commands are read; commit in VyOS and import what `show configuration commands` prints")
	}
	v.version4 = v.ipsec.get("authentication", "psk") != nil
	v.never = v.ipsec.has("disable-uniqreqids")
	v.ipsec.mark()
	for _, peer := range v.ipsec.tags("site-to-site", "peer") {
		v.peer(peer)
	}
	v.secretsOf4()
	v.rest(root)
	return v.result([]string{""}), nil
}

type vyos struct {
	*document
	root     *node
	ipsec    *node
	version4 bool // the secrets stand apart from the peers
	never    bool // unique = never
}

// find is the node of IPsec. The source may be an excerpt that begins further inside.
func (v *vyos) find(root *node) *node {
	for _, path := range [][]string{{"vpn", "ipsec"}, {"security", "vpn", "ipsec"}, {"ipsec"}} {
		if n := root.get(path...); n != nil {
			return n
		}
	}
	if root.get("site-to-site", "peer") != nil {
		return root
	}
	if peer := root.get("peer"); peer != nil {
		root.add("site-to-site", peer.line).adopt(peer)
		return root
	}
	return nil
}

// drop lists everything below n with one reason, read or not.
func (v *vyos) drop(n *node, why string, args ...any) {
	if n == nil {
		return
	}
	n.leaves(func(leaf *node) {
		if leaf.fate == told {
			return
		}
		v.note("", leaf.line, leaf.text(), why, args...)
		for k := leaf; k != n.parent; k = k.parent {
			k.fate = told
		}
	})
}

// refuse drops a peer whose reason stands at one statement. All else of it is listed with a word of where that is.
func (v *vyos) refuse(peer, reason *node, why string, args ...any) {
	if reason == nil {
		reason = peer
		why = "peer " + strings.ReplaceAll(brief(peer.word), "%", "%%") + ": " + why
	}
	v.drop(reason, why, args...)
	v.drop(peer, "peer %s is not carried over, see line %d", brief(peer.word), reason.line)
}

const (
	onlyIKEv2 = "Culvert speaks IKEv2 only: `set vpn ipsec ike-group %s key-exchange ikev2` at both ends, and import again"
	noUse     = "no connection that was carried over uses it"
	// oldDefault is of VyOS before 1.4.
	oldDefault = "key-exchange is not written, and VyOS before 1.4 means IKEv1 then; the connection is IKEv2 now, so the other side must be set to IKEv2"
)

// peer carries a peer over, or refuses it.
func (v *vyos) peer(p *node) {
	if p.get("disable") != nil {
		v.drop(p, "peer %s is disabled", brief(p.word))
		return
	}
	group := v.group("ike-group", p.peek("ike-group"))
	auth := p.get("authentication")
	switch mode := auth.peek("mode"); {
	case mode != "" && mode != "pre-shared-secret":
		v.refuse(p, auth.get("mode"), "authentication by %s is not possible, Culvert authenticates by pre-shared secrets: agree on one", brief(mode))
		return
	case group.peek("key-exchange") == "ikev1":
		v.refuse(p, group.get("key-exchange"), onlyIKEv2, brief(group.word))
		return
	case p.get("tunnel") == nil && p.get("vti", "traffic-selector") == nil && v.routes(p.peek("vti", "bind")) == nil:
		v.refuse(p, p.get("vti"), "Culvert has no interfaces to route through, selectors say what enters a tunnel, and no static route says them: `set vpn ipsec site-to-site peer %s tunnel 1 local prefix ...` and `remote prefix ...` with the networks of both sides", brief(p.word))
		return
	}
	v.connection(p, group)
}

// group finds an ike-group or esp-group; nil if the source has none of that name.
func (v *vyos) group(kind, name string) *node {
	if name == "" {
		return nil
	}
	return v.ipsec.get(kind, name)
}

// remote is where a peer is, and who. In the scheme of 1.3 the name of a peer says so.
func (v *vyos) remote(p *node) (addrs, id string) {
	auth := p.get("authentication")
	id = auth.take("remote-id")
	if list := p.list("remote-address"); list != nil {
		addrs = strings.Join(list, ", ")
		if id == "" {
			id = "%any"
		}
		if contains(list, "any") {
			addrs = ""
		}
		return addrs, id
	}
	switch name := p.word; {
	case strings.HasPrefix(name, "@"):
		if id != "" && id != name {
			v.note("", auth.get("remote-id").line, auth.get("remote-id").kids[0].text(), "VyOS of that version takes the name of the peer, %s", brief(name))
		}
		return "", name
	case name == "any" || name == "0.0.0.0" || name == "::":
		return "", id
	case id == "":
		return name, name
	default:
		return name, id
	}
}

func contains(list []string, word string) bool {
	for _, w := range list {
		if w == word {
			return true
		}
	}
	return false
}

func isAddress(text string) bool {
	_, err := netip.ParseAddr(text)
	return err == nil
}

// connection writes what is left of a peer when nothing speaks against it.
func (v *vyos) connection(p, group *node) {
	p.mark()
	auth := p.get("authentication")
	c := v.connections.sub(strings.TrimPrefix(p.word, "@"))
	c.comment = p.take("description")
	c.set("version", "2")
	local := p.take("local-address")
	if local == "" {
		local = p.take("local-ip") // of Vyatta
	}
	v.drop(p.get("dhcp-interface"), "the local address is left open: it follows the routing table, and its changes")
	localID := auth.take("id")
	if localID == "" {
		localID = auth.take("local-id")
	}
	if isAddress(local) {
		c.set("local_addrs", local)
		if localID == "" {
			localID = local // what charon shows without an identity
		}
	}
	addrs, remoteID := v.remote(p)
	c.set("remote_addrs", addrs)
	auth.take("mode")
	if old := auth.peek("pre-shared-secret"); old != "" {
		auth.take("pre-shared-secret")
		owners := []string{remoteID}
		if remoteID == "" || remoteID == "%any" {
			owners = []string{localID}
		}
		if owners[0] == "" {
			owners = nil
		}
		v.secret(c.name, owners, conftext.Secret([]byte(old)))
	}
	v.drop(auth.get("x509"), "it is for certificates, and the secret is used")
	v.drop(auth.get("rsa"), "it is for RSA keys, and the secret is used")
	v.drop(auth.get("rsa-key-name"), "it is for RSA keys, and the secret is used")
	v.drop(auth.get("use-x509-id"), "it is for certificates, and the secret is used")
	v.encapsulation(p)
	c.set("vips", strings.Join(p.list("virtual-address"), ", "))
	if v.never {
		c.set("unique", "never")
	}
	v.ike(c, p, group)
	ends(c, localID, remoteID)
	v.children(c, p, group, addrs)
}

// encapsulation is always on.
func (v *vyos) encapsulation(p *node) {
	p.has("force-udp-encapsulation")
	if p.peek("force-encapsulation") == "disable" {
		v.drop(p.get("force-encapsulation"), "Culvert puts ESP into UDP always; the peer has to take it, as every IKEv2 daemon does")
	}
	p.take("force-encapsulation")
}

// secretsOf4 writes the secrets that stand apart from the peers.
func (v *vyos) secretsOf4() {
	for _, k := range v.ipsec.tags("authentication", "psk") {
		ids := k.list("id")
		for i, id := range ids {
			if id == "any" {
				ids[i] = "%any"
			}
		}
		v.drop(k.get("dhcp-interface"), "the address of an interface is no owner of a secret: give the peers a local-id and a remote-id, and the secret the same ids")
		secret := k.take("secret")
		switch k.take("secret-type") {
		case "base64":
			secret = "0s" + secret
		case "hex":
			secret = "0x" + secret
		}
		if secret == "" {
			v.drop(k, "it has no secret")
			continue
		}
		v.secret(k.word, ids, secret)
	}
}

// elsewhere says of parts of the configuration why they are not carried over.
var elsewhere = []struct {
	path []string
	why  string
}{
	{[]string{"interface"}, "Culvert listens on all interfaces; which address a connection uses is said by its local_addrs"},
	{[]string{"ipsec-interfaces"}, "Culvert listens on all interfaces; which address a connection uses is said by its local_addrs"},
	{[]string{"nat-networks"}, "it says which private networks IKEv1 clients may be in; in IKEv2 the selectors say it"},
	{[]string{"logging"}, "how much is logged is said by the flags of culvert run"},
	{[]string{"log"}, "how much is logged is said by the flags of culvert run"},
	{[]string{"auto-update"}, "Culvert asks for the addresses of names by itself whenever it calls"},
	{[]string{"auto-firewall-nat-exclude"}, "firewall and NAT are not touched: exclude the networks of the tunnels from source NAT"},
	{[]string{"allow-access-to-local-interface"}, "firewall and NAT are not touched"},
	{[]string{"include-ipsec-conf"}, "convert that file by culvert import ipsec.conf"},
	{[]string{"include-ipsec-secrets"}, "convert that file by culvert import ipsec.conf --secrets"},
	{[]string{"options"}, "it is for strongSwan, of which nothing runs"},
	{[]string{"profile"}, "DMVPN is not implemented: make a tunnel between each two sites that need one"},
	{[]string{"remote-access"}, "its users prove who they are by EAP or certificates, which Culvert does not know: culvert new remote-access makes a secret for each"},
	{[]string{"authentication", "ppk"}, "post-quantum pre-shared keys (RFC 8784) are not implemented"},
	{[]string{"esp-group"}, noUse},
	{[]string{"ike-group"}, noUse},
}

// rest lists what was not read. Outside of IPsec that is one note for each part.
func (v *vyos) rest(root *node) {
	if v.ipsec.peek("nat-traversal") == "enable" {
		v.ipsec.take("nat-traversal")
	}
	v.drop(unreadOf(v.ipsec.get("nat-traversal")), "NAT traversal cannot be switched off")
	for _, e := range elsewhere {
		for _, k := range v.ipsec.tags(e.path...) {
			if k.fate == unread {
				v.drop(k, "%s", e.why)
			}
		}
		if n := v.ipsec.get(e.path...); n != nil && len(n.kids) == 0 {
			v.drop(n, "%s", e.why)
		}
	}
	v.ipsec.leaves(func(leaf *node) {
		if leaf.fate == unread {
			v.note("", leaf.line, leaf.text(), "it is not known here")
		}
	})
	v.outside(root)
}

// outside lists the parts of the configuration around IPsec.
func (v *vyos) outside(n *node) {
	if n == v.ipsec {
		return
	}
	for _, k := range n.kids {
		around := false
		for up := v.ipsec; up != nil; up = up.parent {
			around = around || up == k
		}
		if around {
			v.outside(k)
			continue
		}
		first := k
		k.leaves(func(leaf *node) {
			if leaf.line < first.line {
				first = leaf
			}
		})
		v.note("", first.line, brief(k.word)+" ...", "it is no part of vpn ipsec")
	}
}

func unreadOf(n *node) *node {
	if n == nil || n.fate != unread {
		return nil
	}
	return n
}
