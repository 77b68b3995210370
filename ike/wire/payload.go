package wire

import (
	"github.com/culvert-vpn/culvert/ident"
	"github.com/culvert-vpn/culvert/suite"
	"github.com/culvert-vpn/culvert/ts"
)

// Payload is one of *SA *KE *ID *Cert *CertReq *Auth *Nonce *Notify *Delete *Vendor *TS *CP *EAP *Unknown.
// Only the pointers are payloads, so that a type switch cannot miss one.
type Payload interface {
	// Type is the number that announces the payload in the Next Payload field before it.
	Type() PayloadType
	// String is the notation of RFC 7296 1.2, such as "IDi" or "N(COOKIE)"; it shows no content.
	String() string

	append(b []byte) []byte // the body
}

// SA is the Security Association payload: what is offered, or the one proposal chosen (RFC 7296 3.3). A
// parsed SA has at least one proposal.
type SA struct{ Proposals []Proposal }

// Proposal is one proposal of an SA payload (RFC 7296 3.3.1). A parsed proposal has at least one transform.
type Proposal struct {
	Number uint8  // from 1
	SPI    []byte // 4 bytes for AH and ESP; for IKE 8, or none in the initial exchange
	suite.Proposal
}

// UnusableTransform is the Transform ID of a parsed transform with an attribute that is not understood: any
// but a single Key Length in TV form, not zero. Such a transform must never be chosen while the others beside
// it may be (RFC 7296 3.3.6); this last number of the private use range names no algorithm.
const UnusableTransform uint16 = 0xffff

// KE is the Key Exchange payload (RFC 7296 3.4). The length of Data is not checked against the group.
type KE struct {
	Group uint16
	Data  []byte // public value; not empty when parsed
}

// ID is an Identification payload, IDi or IDr (RFC 7296 3.5).
type ID struct {
	Responder bool // IDr
	// ID is the identity. It is zero if the peer sent one that cannot be used: an unknown ID type, or data
	// that does not fit the type. That is a failure of authentication, not of syntax.
	ID ident.ID
	// Raw is the body as received, ID Type and reserved bytes included; AUTH covers it (RFC 7296 2.15).
	// When appending, Raw is sent if it is not nil, for what is sent must be what was signed; else ID.
	Raw []byte
}

// Auth is the Authentication payload (RFC 7296 3.8).
type Auth struct {
	Method AuthMethod
	Data   []byte
}

// Nonce is the Nonce payload, Ni or Nr. A parsed nonce has MinNonce to MaxNonce bytes.
type Nonce struct{ Data []byte }

// Notify is the Notify payload (RFC 7296 3.10).
type Notify struct {
	// Protocol and SPI name the Child SA that is meant. Without an SPI the Protocol is meaningless: it is 0
	// when parsed and sent as 0, but for IKE, which some notifies are sent with (RFC 6290 4.1, RFC 6023 4).
	// With AH or ESP a parsed SPI has 4 bytes.
	Protocol suite.Protocol
	SPI      []byte
	Kind     NotifyType
	Data     []byte
}

// Delete is the Delete payload (RFC 7296 3.11): the IKE SA (without SPIs), or Child SAs by the SPIs the
// sender receives on, 4 bytes each. A parsed Protocol is IKE, AH or ESP.
type Delete struct {
	Protocol suite.Protocol
	SPIs     [][]byte
}

// TS is a Traffic Selector payload, TSi or TSr (RFC 7296 3.13). Selectors of unknown TS Type are left out
// when parsing, so it can be empty; the others are valid in the sense of ts.Selector.Valid.
type TS struct {
	Responder bool // TSr
	Selectors []ts.Selector
}

// Vendor is the Vendor ID payload (RFC 7296 3.12).
type Vendor struct{ Data []byte }

// Cert is the Certificate payload; Body starts with the Cert Encoding (RFC 7296 3.6).
type Cert struct{ Body []byte }

// CertReq is the Certificate Request payload; Body starts with the Cert Encoding (RFC 7296 3.7).
type CertReq struct{ Body []byte }

// EAP is the EAP payload; Body is the EAP message (RFC 7296 3.16).
type EAP struct{ Body []byte }

// Unknown is a payload of a type not known here. It was not critical when parsed, and is to be ignored
// (RFC 7296 2.5).
type Unknown struct {
	Kind     PayloadType
	Critical bool
	Body     []byte
}

// Type is the number of the payload in the registry.
func (*SA) Type() PayloadType        { return TypeSA }
func (*KE) Type() PayloadType        { return TypeKE }
func (p *ID) Type() PayloadType      { return pick(p.Responder, TypeIDr, TypeIDi) }
func (*Cert) Type() PayloadType      { return TypeCERT }
func (*CertReq) Type() PayloadType   { return TypeCERTREQ }
func (*Auth) Type() PayloadType      { return TypeAUTH }
func (*Nonce) Type() PayloadType     { return TypeNONCE }
func (*Notify) Type() PayloadType    { return TypeNOTIFY }
func (*Delete) Type() PayloadType    { return TypeDELETE }
func (*Vendor) Type() PayloadType    { return TypeVENDOR }
func (p *TS) Type() PayloadType      { return pick(p.Responder, TypeTSr, TypeTSi) }
func (*CP) Type() PayloadType        { return TypeCP }
func (*EAP) Type() PayloadType       { return TypeEAP }
func (p *Unknown) Type() PayloadType { return p.Kind }

func pick(responder bool, r, i PayloadType) PayloadType {
	if responder {
		return r
	}
	return i
}
