package wire

import (
	"fmt"
	"regexp"
	"testing"
)

func TestNames(t *testing.T) {
	for _, c := range []struct {
		v    fmt.Stringer
		want string
	}{
		{NO_PROPOSAL_CHOSEN, "NO_PROPOSAL_CHOSEN"}, {NotifyType(43), "TEMPORARY_FAILURE"},
		{NotifyType(44), "CHILD_SA_NOT_FOUND"}, {NotifyType(48), "TS_MAX_QUEUE"},
		{NotifyType(2), "ERROR_2"}, {NotifyType(16383), "ERROR_16383"},
		{NotifyType(16384), "INITIAL_CONTACT"}, {NotifyType(16395), "NON_FIRST_FRAGMENTS_ALSO"},
		{NotifyType(16396), "MOBIKE_SUPPORTED"}, {NotifyType(16418), "CHILDLESS_IKEV2_SUPPORTED"},
		{NotifyType(16430), "IKEV2_FRAGMENTATION_SUPPORTED"}, {NotifyType(16438), "INTERMEDIATE_EXCHANGE_SUPPORTED"},
		{NotifyType(40960), "STATUS_40960"},
		{TypeNONCE, "No"}, {TypeSKF, "SKF"}, {PayloadType(49), "PAYLOAD_49"}, {PayloadType(1), "PAYLOAD_1"},
		{IKE_SA_INIT, "IKE_SA_INIT"}, {INFORMATIONAL, "INFORMATIONAL"}, {Exchange(99), "EXCHANGE_99"},
		{AuthSharedKey, "shared key"}, {AuthMethod(77), "AUTH_77"},
		{&ID{Responder: true}, "IDr"}, {&TS{}, "TSi"}, {&Notify{Kind: COOKIE}, "N(COOKIE)"}, {&CP{Kind: CFG_REPLY}, "CP(CFG_REPLY)"},
		{Header{Exchange: IKE_AUTH, Response: true, MessageID: 1}, "IKE_AUTH response 1"},
	} {
		if got := c.v.String(); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

// Every number has one name in the form of the registry, and the two ranges do not mix.
func TestNotifyNames(t *testing.T) {
	form := regexp.MustCompile(`^[A-Z][A-Za-z0-9_]+$`)
	seen := make(map[string]bool)
	for n, name := range notifyNames {
		if !form.MatchString(name) || seen[name] {
			t.Errorf("%d: name %q", uint16(n), name)
		}
		seen[name] = true
		if n.IsError() != (n < 64) {
			t.Errorf("%v = %d", n, uint16(n))
		}
	}
}

// The summary shows no content, even if the message is full of it.
//
// Cases: BUG-22.
func TestMessageString(t *testing.T) {
	m := &Message{Header: Header{Exchange: IKE_SA_INIT}, Payloads: []Payload{
		&SA{}, &KE{}, &Nonce{}, &Notify{Kind: NAT_DETECTION_SOURCE_IP, Data: []byte("\x1b[2J\n")},
		&Vendor{Data: []byte("\n\x00")}, &Cert{}, &CertReq{}, &Auth{}, &Delete{}, &CP{}, &EAP{}, &ID{Raw: []byte("\n")},
		&Unknown{Kind: 200, Body: []byte("\n")}},
		Encrypted: &Encrypted{Body: []byte("\n")}}
	const want = "IKE_SA_INIT request 0 [SA KE No N(NAT_DETECTION_SOURCE_IP) V CERT CERTREQ AUTH D CP(CFG_0) EAP IDi PAYLOAD_200 SK]"
	for _, got := range []string{m.String(), fmt.Sprint(m), fmt.Sprintf("%v", m)} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
