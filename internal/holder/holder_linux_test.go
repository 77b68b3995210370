package holder

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// asHere is a specimen of a little-endian host as this host would print it: with each word of the address in its own order.
func asHere(text string) string {
	if littleEndian {
		return text
	}
	b := []byte(text)
	for word := b; len(word) >= 8 && word[0] != ':'; word = word[8:] {
		for i, j := 0, 6; i < j; i, j = i+2, j-2 {
			word[i], word[i+1], word[j], word[j+1] = word[j], word[j+1], word[i], word[i+1]
		}
	}
	return string(b)
}

func TestParseProcAddr(t *testing.T) {
	for text, want := range map[string]string{
		"0100007F:01F4":                         "127.0.0.1:500",
		"00000000:1194":                         "0.0.0.0:4500",
		"00000000000000000000000001000000:01F4": "[::1]:500",
		"B80D0120000000000000000002000000:0001": "[2001:db8::2]:1",
		"0000000000000000FFFF00000100007F:0050": "127.0.0.1:80",
	} {
		if got, ok := parseProcAddr(asHere(text)); !ok || got.String() != want {
			t.Errorf("%s: %v, %v; want %s", text, got, ok, want)
		}
	}
	for _, text := range []string{"", ":", "0100007F", "0100007F:", "0100007F:10000", "0100:01F4", "xx00007F:01F4"} {
		if got, ok := parseProcAddr(text); ok {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// TestOf finds this very process by a socket of its own, of either family and whichever address is asked for.
func TestOf(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Base(self)[:min(15, len(filepath.Base(self)))]
	for _, network := range []string{"udp4", "udp"} {
		conn, err := net.ListenUDP(network, nil)
		if err != nil {
			t.Fatal(err)
		}
		port := conn.LocalAddr().(*net.UDPAddr).AddrPort().Port()
		for _, addr := range []string{"0.0.0.0", "127.0.0.1"} {
			found := Of(netip.AddrPortFrom(netip.MustParseAddr(addr), port))
			if len(found) != 1 || found[0].PID != os.Getpid() || found[0].Name != name {
				t.Errorf("%s, %s: %+v, want process %d, %q", network, addr, found, os.Getpid(), name)
			}
		}
		conn.Close()
		if found := Of(netip.AddrPortFrom(netip.IPv4Unspecified(), port)); len(found) > 0 && found[0].PID == os.Getpid() {
			t.Errorf("%s: %+v after the socket was closed", network, found)
		}
	}
}

func TestUnitOf(t *testing.T) {
	for groups, want := range map[string]string{
		"0::/system.slice/strongswan.service\n":                               "strongswan.service",
		"12:cpu:/x\n1:name=systemd:/system.slice/ipsec.service/sub\n":         "ipsec.service",
		"0::/system.slice/system-vpn.slice/vpn@a.service\n":                   "vpn@a.service",
		"0::/user.slice/user-0.slice/user@0.service/app.slice/tmux.service\n": "",
		"0::/\n":           "",
		"nonsense":         "",
		"0::/system.slice": "",
	} {
		if got := unitOf(groups); got != want {
			t.Errorf("%q: %q, want %q", groups, got, want)
		}
	}
}

func TestFix(t *testing.T) {
	for want, p := range map[string]Process{
		"# systemctl disable --now strongswan-starter.service": {Name: "charon", PID: 7, Unit: "strongswan-starter.service"},
		"# kill 7":                 {Name: "charon", PID: 7},
		"# ss -ulnp sport = :4500": {},
		"# ip -details link":       {Kernel: true},
	} {
		fix := p.Fix(4500)
		if len(fix.Lines) != 1 || fix.Lines[0] != want || fix.Text == "" || p.String() == "" {
			t.Errorf("%+v: %+v", p, fix)
		}
	}
	if fix := (Process{Name: "charon", PID: 7}).Fix(500); !strings.Contains(fix.Text, "strongSwan") {
		t.Errorf("%q does not say what charon is", fix.Text)
	}
}
