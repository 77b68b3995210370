package wire

import (
	"fmt"
	"strconv"
	"strings"
)

// PayloadType is the number of a payload (RFC 7296 3.2).
type PayloadType uint8

// Payload types. 1 to 32 belong to IKEv1 and are unknown here.
const (
	TypeNone    PayloadType = 0 // No Next Payload
	TypeSA      PayloadType = 33
	TypeKE      PayloadType = 34
	TypeIDi     PayloadType = 35
	TypeIDr     PayloadType = 36
	TypeCERT    PayloadType = 37
	TypeCERTREQ PayloadType = 38
	TypeAUTH    PayloadType = 39
	TypeNONCE   PayloadType = 40
	TypeNOTIFY  PayloadType = 41
	TypeDELETE  PayloadType = 42
	TypeVENDOR  PayloadType = 43
	TypeTSi     PayloadType = 44
	TypeTSr     PayloadType = 45
	TypeSK      PayloadType = 46
	TypeCP      PayloadType = 47
	TypeEAP     PayloadType = 48
	TypeSKF     PayloadType = 53
)

var payloadNames = map[PayloadType]string{
	TypeNone: "none", TypeSA: "SA", TypeKE: "KE", TypeIDi: "IDi", TypeIDr: "IDr", TypeCERT: "CERT",
	TypeCERTREQ: "CERTREQ", TypeAUTH: "AUTH", TypeNONCE: "No", TypeNOTIFY: "N", TypeDELETE: "D",
	TypeVENDOR: "V", TypeTSi: "TSi", TypeTSr: "TSr", TypeSK: "SK", TypeCP: "CP", TypeEAP: "EAP",
	TypeSKF: "SKF",
}

// String is the notation of RFC 7296 3.2 ("No" for a nonce of either side), or PAYLOAD_n.
func (t PayloadType) String() string {
	if name, ok := payloadNames[t]; ok {
		return name
	}
	return "PAYLOAD_" + strconv.Itoa(int(t))
}

// Exchange is the Exchange Type of the header (RFC 7296 3.1).
type Exchange uint8

// Exchange types.
const (
	IKE_SA_INIT        Exchange = 34
	IKE_AUTH           Exchange = 35
	CREATE_CHILD_SA    Exchange = 36
	INFORMATIONAL      Exchange = 37
	IKE_SESSION_RESUME Exchange = 38 // RFC 5723
	IKE_INTERMEDIATE   Exchange = 43 // RFC 9242
	IKE_FOLLOWUP_KE    Exchange = 44 // RFC 9370
)

var exchangeNames = map[Exchange]string{
	IKE_SA_INIT: "IKE_SA_INIT", IKE_AUTH: "IKE_AUTH", CREATE_CHILD_SA: "CREATE_CHILD_SA",
	INFORMATIONAL: "INFORMATIONAL", IKE_SESSION_RESUME: "IKE_SESSION_RESUME",
	IKE_INTERMEDIATE: "IKE_INTERMEDIATE", IKE_FOLLOWUP_KE: "IKE_FOLLOWUP_KE",
}

// String is the registry's name, or EXCHANGE_n.
func (e Exchange) String() string {
	if name, ok := exchangeNames[e]; ok {
		return name
	}
	return "EXCHANGE_" + strconv.Itoa(int(e))
}

// AuthMethod is the Auth Method of the AUTH payload (RFC 7296 3.8).
type AuthMethod uint8

// Authentication methods.
const (
	AuthRSA       AuthMethod = 1
	AuthSharedKey AuthMethod = 2 // Shared Key Message Integrity Code
	AuthDSS       AuthMethod = 3
	AuthECDSA256  AuthMethod = 9  // RFC 4754
	AuthECDSA384  AuthMethod = 10 // RFC 4754
	AuthECDSA521  AuthMethod = 11 // RFC 4754
	AuthSPM       AuthMethod = 12 // Generic Secure Password, RFC 6467
	AuthNULL      AuthMethod = 13 // RFC 7619
	AuthSignature AuthMethod = 14 // Digital Signature, RFC 7427
)

var authNames = map[AuthMethod]string{
	AuthRSA: "RSA digital signature", AuthSharedKey: "shared key", AuthDSS: "DSS digital signature",
	AuthECDSA256: "ECDSA with SHA-256 on P-256", AuthECDSA384: "ECDSA with SHA-384 on P-384",
	AuthECDSA521: "ECDSA with SHA-512 on P-521", AuthSPM: "secure password method",
	AuthNULL: "NULL authentication", AuthSignature: "digital signature",
}

// String names the method in words, or as AUTH_n.
func (m AuthMethod) String() string {
	if name, ok := authNames[m]; ok {
		return name
	}
	return "AUTH_" + strconv.Itoa(int(m))
}

func (p *SA) String() string      { return p.Type().String() }
func (p *KE) String() string      { return p.Type().String() }
func (p *ID) String() string      { return p.Type().String() }
func (p *Cert) String() string    { return p.Type().String() }
func (p *CertReq) String() string { return p.Type().String() }
func (p *Auth) String() string    { return p.Type().String() }
func (p *Nonce) String() string   { return p.Type().String() }
func (p *Notify) String() string  { return "N(" + p.Kind.String() + ")" }
func (p *Delete) String() string  { return p.Type().String() }
func (p *Vendor) String() string  { return p.Type().String() }
func (p *TS) String() string      { return p.Type().String() }
func (p *CP) String() string      { return "CP(" + p.Kind.String() + ")" }
func (p *EAP) String() string     { return p.Type().String() }
func (p *Unknown) String() string { return p.Type().String() }

// String is the exchange, the direction and the Message ID: "IKE_AUTH request 1".
func (h Header) String() string {
	direction := "request"
	if h.Response {
		direction = "response"
	}
	return fmt.Sprintf("%v %s %d", h.Exchange, direction, h.MessageID)
}

// String is one line: "IKE_SA_INIT request 0 [SA KE No N(NAT_DETECTION_SOURCE_IP)]". It shows only types,
// never contents, so it is safe for logs.
func (m *Message) String() string {
	names := make([]string, 0, len(m.Payloads)+1)
	for _, p := range m.Payloads {
		names = append(names, p.String())
	}
	if m.Encrypted != nil {
		names = append(names, TypeSK.String())
	}
	if f := m.Fragment; f != nil {
		names = append(names, fmt.Sprintf("%v(%d/%d)", TypeSKF, f.Number, f.Total))
	}
	return m.Header.String() + " [" + strings.Join(names, " ") + "]"
}
