package doctor

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"net/netip"
	"slices"
	"strings"

	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/natt"
	"github.com/culvert-vpn/culvert/suite"
)

// A probe is an IKE_SA_INIT request, and the same one again if the peer wants another group or a cookie (RFC 7296 1.2, 2.6). Nothing
// follows it: the peer forgets what it keeps of it after some seconds, as it must of any stranger's.

// vendorID is that of package ike.
const vendorID = "Culvert"

// maxDetours is how many answers with COOKIE or INVALID_KE_PAYLOAD a probe takes.
const maxDetours = 4

// probe is what is asked.
type probe struct {
	path      natt.Path
	proposals []suite.Proposal
	group     uint16 // of the KE payload
	spi       uint64
	fragments bool // announce IKEV2_FRAGMENTATION_SUPPORTED
	keepGroup bool // take INVALID_KE_PAYLOAD for an answer
	size      int  // of the IP packet in bytes, to which the message is padded; 0: as it is

	nonce, public, cookie []byte
	detours               int
}

// padding is a notify of the range for private use, which whoever does not know it ignores (RFC 7296 3.10.1).
const padding wire.NotifyType = 65000

func newProbe(rand io.Reader, path natt.Path, proposals []suite.Proposal) (*probe, error) {
	p := &probe{path: path, proposals: proposals, nonce: make([]byte, 32), fragments: true}
	var spi [8]byte
	if _, err := io.ReadFull(rand, spi[:]); err != nil {
		return nil, err
	}
	spi[0] |= 1 // not zero
	p.spi = binary.BigEndian.Uint64(spi[:])
	if _, err := io.ReadFull(rand, p.nonce); err != nil {
		return nil, err
	}
	for _, proposal := range proposals {
		if g := proposal.Group(); g != suite.KE_NONE {
			return p, p.offer(rand, g)
		}
	}
	return nil, errors.New("no proposal has a key exchange")
}

// offer draws a public value. The private one is forgotten at once: the probe ends before it is needed.
func (p *probe) offer(rand io.Reader, group uint16) error {
	ke, err := suite.NewKE(group)
	if err != nil {
		return err
	}
	private, public, err := ke.Offer(rand)
	if err != nil {
		return err
	}
	private.Zero()
	p.group, p.public = group, public
	return nil
}

// message is the request, with the non-ESP marker where the path needs it.
func (p *probe) message() []byte {
	b := p.append(-1)
	if short := p.size - len(b) - headers(p.path.Remote.Addr()); p.size > 0 && short > notifyLen {
		b = p.append(short - notifyLen)
	}
	return b
}

// notifyLen is the length in bytes of a notify without data, headers of what is in front of a message of IKE.
const notifyLen = 8

func headers(a netip.Addr) int {
	if a.Is4() {
		return 20 + 8
	}
	return 40 + 8
}

// append makes the request, with a notify of so many bytes, or none if the number is negative.
func (p *probe) append(pad int) []byte {
	var list []wire.Payload
	if p.cookie != nil {
		list = append(list, &wire.Notify{Kind: wire.COOKIE, Data: p.cookie})
	}
	sa := &wire.SA{}
	for i, proposal := range p.proposals {
		sa.Proposals = append(sa.Proposals, wire.Proposal{Number: uint8(i + 1), Proposal: proposal})
	}
	// As the daemon does it: the source never matches, so that the peer encapsulates ESP (package ike, natHashes).
	source, destination := natt.ForcedSource(p.spi, 0, p.path.Local), natt.Hash(p.spi, 0, p.path.Remote)
	list = append(list, sa, &wire.KE{Group: p.group, Data: p.public}, &wire.Nonce{Data: p.nonce},
		&wire.Notify{Kind: wire.NAT_DETECTION_SOURCE_IP, Data: source[:]},
		&wire.Notify{Kind: wire.NAT_DETECTION_DESTINATION_IP, Data: destination[:]},
		&wire.Vendor{Data: []byte(vendorID)})
	if p.fragments {
		list = append(list, &wire.Notify{Kind: wire.IKEV2_FRAGMENTATION_SUPPORTED})
	}
	if pad >= 0 {
		list = append(list, &wire.Notify{Kind: padding, Data: make([]byte, pad)})
	}
	return wire.AppendMessage(natt.AppendIKE(nil, p.path, nil), wire.Header{SPIi: p.spi, Exchange: wire.IKE_SA_INIT, Initiator: true}, list)
}

// answer is what a peer says.
type answer struct {
	chosen     suite.Proposal  // if it accepts
	refused    wire.NotifyType // an error; 0: it accepts
	wants      uint16          // the group it wants, with INVALID_KE_PAYLOAD
	redirected bool
	version1   bool // it speaks IKEv1 only
	nat        natt.Situation
	seenAs     [][]byte // hashes of where the peer sees us, as natt.Hash makes them
	spiI, spiR uint64
	local      netip.AddrPort    // where it arrived
	notifies   []wire.NotifyType // status types
	vendors    []string
	detours    int
}

// errNotOurs is about a datagram that is no answer to the probe.
var errNotOurs = errors.New("no answer to the probe")

// take reads a datagram. again: the request has changed, and is to be sent once more.
func (p *probe) take(rand io.Reader, b []byte) (a *answer, again bool, err error) {
	if p.path.NATT {
		kind, rest := natt.Classify(true, b)
		if kind != natt.IKE {
			return nil, false, errNotOurs
		}
		b = rest
	}
	if a := p.takeVersion1(b); a != nil {
		return a, false, nil
	}
	m, err := wire.Parse(b)
	switch {
	case err != nil:
		return nil, false, err
	case m.Header.SPIi != p.spi, !m.Header.Response, m.Header.Initiator, m.Header.Exchange != wire.IKE_SA_INIT, m.Header.MessageID != 0:
		return nil, false, errNotOurs
	}
	a = &answer{spiI: p.spi, spiR: m.Header.SPIr, local: p.path.Local, detours: p.detours}
	again, err = p.read(rand, m, a)
	if err != nil || again {
		return nil, again, err
	}
	return a, false, nil
}

// takeVersion1 recognizes an IKEv1 answer to the SPI, which says that the version is not known (RFC 2408 3.14.1, RFC 7296 2.5).
func (p *probe) takeVersion1(b []byte) *answer {
	h, err := wire.ParseHeader(b)
	if err != nil || h.Major != 1 || h.SPIi != p.spi {
		return nil
	}
	return &answer{spiI: p.spi, local: p.path.Local, version1: true, refused: wire.INVALID_MAJOR_VERSION}
}

// read takes the payloads.
func (p *probe) read(rand io.Reader, m *wire.Message, a *answer) (again bool, err error) {
	var sa *wire.SA
	var src [][]byte
	var dst []byte
	certain := false
	for _, payload := range m.Payloads {
		switch v := payload.(type) {
		case *wire.SA:
			sa = v
		case *wire.Vendor:
			a.vendors = append(a.vendors, vendorName(v.Data))
			certain = certain || string(v.Data) == vendorID
		case *wire.Notify:
			switch {
			case v.Kind == wire.COOKIE:
				return p.takeCookie(v.Data)
			case v.Kind == wire.INVALID_KE_PAYLOAD && len(v.Data) == 2:
				a.refused, a.wants = v.Kind, binary.BigEndian.Uint16(v.Data)
				if !p.keepGroup && p.group != a.wants && p.offers(a.wants) && p.detour() {
					return true, p.offer(rand, a.wants)
				}
			case v.Kind == wire.NAT_DETECTION_SOURCE_IP:
				src = append(src, bytes.Clone(v.Data))
			case v.Kind == wire.NAT_DETECTION_DESTINATION_IP:
				dst = bytes.Clone(v.Data)
			case v.Kind == wire.REDIRECT:
				a.redirected = true
			case v.Kind.IsError():
				a.refused = v.Kind
			default:
				a.notifies = append(a.notifies, v.Kind)
			}
		}
	}
	a.nat = natt.Detect(m.Header.SPIi, m.Header.SPIr, p.path, src, dst)
	a.nat.Certain = a.nat.Supported && certain
	a.seenAs = append(a.seenAs, dst)
	if a.refused != 0 || a.redirected {
		return false, nil
	}
	if sa == nil || len(sa.Proposals) != 1 || !suite.Accepts(p.proposals, sa.Proposals[0].Proposal) {
		return false, errors.New("the answer has no proposal of those that were offered")
	}
	a.chosen = sa.Proposals[0].Proposal
	return false, nil
}

func (p *probe) offers(group uint16) bool {
	return slices.ContainsFunc(p.proposals, func(o suite.Proposal) bool {
		return slices.ContainsFunc(o.All(suite.TypeKE), func(t suite.Transform) bool { return t.ID == group })
	})
}

// detour reports whether the request may be sent in another form once more.
func (p *probe) detour() bool {
	p.detours++
	return p.detours <= maxDetours
}

func (p *probe) takeCookie(data []byte) (again bool, err error) {
	if len(data) < 1 || len(data) > 64 || bytes.Equal(data, p.cookie) || !p.detour() { // RFC 7296 2.6
		return false, errNotOurs
	}
	p.cookie = bytes.Clone(data)
	return true, nil
}

// has reports whether the peer has announced something.
func (a *answer) has(kind wire.NotifyType) bool { return slices.Contains(a.notifies, kind) }

// seen reports whether the peer sees us at an address and port.
func (a *answer) seen(addr netip.Addr, port uint16) bool {
	h := natt.Hash(a.spiI, a.spiR, netip.AddrPortFrom(addr, port))
	return slices.ContainsFunc(a.seenAs, func(s []byte) bool { return bytes.Equal(s, h[:]) })
}

// vendorName is the product that makes itself known by a vendor ID.
func vendorName(id []byte) string {
	if string(id) == vendorID {
		return "Culvert"
	}
	text := hex.EncodeToString(id)
	for _, known := range [...]struct{ prefix, name string }{
		{"882fe56d6fd20dbc2251613b2ebe5beb", "strongSwan"},
		{"1e2b516905991c7d7c96fcbfb587e461", "Microsoft Windows"},
		{"434953434f", "Cisco"},                         // CISCO-DELETE-REASON, CISCO(COPYRIGHT)...
		{"464c455856504e2d535550504f52544544", "Cisco"}, // FLEXVPN-SUPPORTED
		{"4f452d4c69627265737761", "Libreswan"},         // OE-Libreswan-...
		{"8299031757a36082c6a621de", "FortiGate"},
		{"699369228741c6d4ca094c93e242c9de", "Juniper"},
		{"4048b7d56ebce88525e7de7f00d6c2d3", "fragmentation of IKEv1"},
	} {
		if strings.HasPrefix(text, known.prefix) {
			return known.name
		}
	}
	if len(text) > 32 {
		text = text[:32] + "..."
	}
	return "unknown (" + text + ")"
}

// nobodys is a proposal that nobody accepts: its cipher has a number for private use. The peer answers NO_PROPOSAL_CHOSEN and keeps
// nothing, so that it is the way to ask whether something arrives.
func nobodys(group uint16) suite.Proposal {
	const private = 0xfb1d
	return suite.Proposal{Protocol: suite.IKE, Transforms: []suite.Transform{
		{Type: suite.TypeENCR, ID: private}, {Type: suite.TypePRF, ID: private}, {Type: suite.TypeINTEG, ID: private}, {Type: suite.TypeKE, ID: group},
	}}
}

// single asks about one proposal and leaves nothing at the peer either: the KE payload belongs to nobody's proposal behind it, so that
// a peer that accepts the first one answers INVALID_KE_PAYLOAD with the group it wants (RFC 7296 1.2).
func single(rand io.Reader, path natt.Path, proposal suite.Proposal) (*probe, error) {
	for _, guess := range []uint16{suite.ECP256, suite.CURVE25519, suite.ECP384} {
		if slices.ContainsFunc(proposal.All(suite.TypeKE), func(t suite.Transform) bool { return t.ID == guess }) {
			continue
		}
		p, err := newProbe(rand, path, []suite.Proposal{proposal, nobodys(guess)})
		if err == nil {
			err = p.offer(rand, guess)
		}
		if p != nil {
			p.keepGroup = true
		}
		return p, err
	}
	return nil, errors.New("it offers every group that could be used to ask")
}

// everything are proposals with all that Culvert can do, the strong first, for a peer that refused what is configured.
func everything() []suite.Proposal {
	const (
		prfs   = "prfsha256-prfsha384-prfsha512-prfsha1"
		groups = "x25519-ecp256-ecp384-ecp521-modp3072-modp4096-modp2048-x448-ecp256bp-ecp384bp-ecp512bp-modp6144-modp8192-modp1536-modp1024"
	)
	var list []suite.Proposal
	for _, words := range []string{
		"aes256gcm16-aes128gcm16-chacha20poly1305-aes192gcm16-aes256ccm16-aes128ccm16-aes256gcm12-aes128gcm12-aes256gcm8-aes128gcm8-" + prfs + "-" + groups,
		"aes256-aes192-aes128-aes256ctr-aes128ctr-sha256-sha384-sha512-sha1-aescmac-aesxcbc-" + prfs + "-" + groups,
	} {
		p, err := suite.ParseProposal(suite.IKE, words)
		if err != nil {
			panic(err) // of words that are written above
		}
		list = append(list, p)
	}
	return list
}

// nearest compares what the peer would accept with what was offered: the offer that differs least, and in what.
func nearest(offers []suite.Proposal, accepted suite.Proposal) (best suite.Proposal, differs []string) {
	for i, o := range offers {
		var here []string
		for _, t := range []struct {
			suite.Type
			name string
		}{{suite.TypeENCR, "encryption"}, {suite.TypeINTEG, "integrity"}, {suite.TypePRF, "pseudorandom function"}, {suite.TypeKE, "key exchange"}} {
			want, ok := accepted.Get(t.Type)
			if ok != (len(o.All(t.Type)) > 0) || ok && !slices.Contains(o.All(t.Type), want) {
				here = append(here, t.name)
			}
		}
		if i == 0 || len(here) < len(differs) {
			best, differs = o, here
		}
	}
	return best, differs
}

// words is a list as people write it.
func words(list []string) string {
	if len(list) < 2 {
		return strings.Join(list, "")
	}
	return strings.Join(list[:len(list)-1], ", ") + " and " + list[len(list)-1]
}

// writtenProposals is how proposals are written in a configuration.
func writtenProposals(list []suite.Proposal) (out []string) {
	for _, p := range list {
		out = append(out, p.String())
	}
	return out
}

// pathOf is the way of a probe. Only port 500 is without the non-ESP marker.
func pathOf(local, remote netip.AddrPort) natt.Path {
	return natt.Path{Local: local, Remote: remote, NATT: remote.Port() != natt.Port}
}

// remotePort is where the first message of a connection goes.
func remotePort(c *ike.Connection) uint16 {
	if c.RemotePort == 0 {
		return natt.Port
	}
	return c.RemotePort
}
