//go:build linux

package e2e

import (
	"net/netip"
	"reflect"
	"testing"
)

func TestParseSAs(t *testing.T) {
	t.Parallel()
	const text = `list-sa event {
  site {
    uniqueid = 7
    state = ESTABLISHED
    local-host = 172.16.0.1
    local-port = 4500
    local-id = C=CH, CN=moon { x
    remote-host = 2001:db8::1
    remote-port = 4501
    remote-id =
    initiator = yes
    initiator-spi = 83013ca397bd0808
    responder-spi = 6d1676e6822e70e0
    nat-local = yes
    encr-alg = AES_CBC
    encr-keysize = 192
    integ-alg = HMAC_SHA2_384_192
    prf-alg = PRF_HMAC_SHA1
    dh-group = CURVE_25519
    child-sas {
      net-1 {
        name = net
        uniqueid = 3
        state = INSTALLED
        encap = yes
        spi-in = b72f4330
        encr-alg = AES_GCM_16
        encr-keysize = 256
        dh-group = ECP_521
        spi-out = 3be9b055
        packets-in = 100
        bytes-out = 8400
        local-ts = [
          10.104.0.0/24
          fd00:104::/64
        ]
      }
    }
  }
}
list-sa event {
  other {
    state = CONNECTING
    remote-host = %any
  }
}
list-sas reply {
}
`
	got, err := parseSAs(text)
	if err != nil {
		t.Fatal(err)
	}
	want := []SA{
		{
			Connection: "site", ID: 7, State: "ESTABLISHED", Initiator: true, LocalNAT: true,
			SPIi: 0x83013ca397bd0808, SPIr: 0x6d1676e6822e70e0,
			Local: netip.MustParseAddrPort("172.16.0.1:4500"), Remote: netip.MustParseAddrPort("[2001:db8::1]:4501"),
			LocalID: "C=CH, CN=moon { x", Proposal: "aes192-sha384-prfsha1-x25519",
			Children: []Child{{
				Name: "net", ID: 3, State: "INSTALLED", UDP: true, SPIIn: 0xb72f4330, SPIOut: 0x3be9b055,
				PacketsIn: 100, BytesOut: 8400, LocalTS: []string{"10.104.0.0/24", "fd00:104::/64"},
				Proposal: "aes256gcm16-ecp521",
			}},
		},
		{Connection: "other", State: "CONNECTING"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	for _, broken := range []string{
		"list-sa event {\n", "list-sa event {\nx {\nuniqueid = one\n}\n}\n", "what\n", "}\n", "list-sa event {\nx = [\n",
	} {
		if sas, err := parseSAs(broken); err == nil {
			t.Errorf("%q is read as %+v", broken, sas)
		}
	}
}

func TestParseFrames(t *testing.T) {
	t.Parallel()
	got, err := parseFrames("1\teth:ip:udp:esp\t\t\tTrue\tFalse\t5,6\t\n2\teth\t1\tbad\t\t\t\tx\n", []string{"a", "b"})
	want := Frames{
		{Number: 1, Protocols: []string{"eth", "ip", "udp", "esp"}, GoodICV: true, Fields: map[string][]string{"a": {"5", "6"}}},
		{Number: 2, Protocols: []string{"eth"}, Malformed: true, BadICV: true, Fields: map[string][]string{"b": {"x"}}},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v, %v\nwant %+v", got, err, want)
	}
	if got, err := parseFrames("1\teth\n", nil); err == nil {
		t.Errorf("a short line is read as %+v", got)
	}
}

func TestUATRefusesUnknownAlgorithms(t *testing.T) {
	t.Parallel()
	if row, err := (IKEKeys{Encr: "CHACHA20_POLY1305-256"}).uat(); err == nil {
		t.Errorf("IKE: %s", row)
	}
	if row, err := (ESPKeys{Encr: "AES_CBC-128", Integ: "HMAC_MD5"}).uat(); err == nil {
		t.Errorf("ESP: %s", row)
	}
}
