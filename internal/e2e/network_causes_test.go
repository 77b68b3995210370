//go:build linux

package e2e

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/culvert-vpn/culvert/explain"
)

// Each scenario provokes what the network or the host may do to a tunnel, checks what the daemon says of it, applies the fix as it is
// printed, and wants the tunnel up.

// hasty makes Culvert give an unanswered request up after three seconds.
const hasty = "retransmit_timeout = 0.5\nretransmit_base = 1\nretransmit_tries = 5"

// told is what the status has of a failure or a warning.
type told struct {
	Kind      string             `json:"kind"`
	Text      string             `json:"text"`
	Remedy    string             `json:"remedy"`
	Diagnosis *explain.Diagnosis `json:"diagnosis"`
}

// tells is what the status of a daemon has of them.
type tells struct {
	Connections []struct {
		Name        string `json:"name"`
		Up          bool   `json:"up"`
		LastFailure *told  `json:"last_failure"`
		Warnings    []told `json:"warnings"`
	} `json:"connections"`
	Refused []told `json:"refused"`
}

func (c *Culvert) tells(t *testing.T) (s tells) {
	t.Helper()
	text, err := c.Ctl("status", "--json")
	Must(t, err)
	Must(t, json.Unmarshal([]byte(text), &s))
	return s
}

// victim is the gateway that has to explain, with what its configuration is now.
type victim struct {
	*Culvert
	t    *testing.T
	conf string
}

// newVictim starts a Culvert.
func newVictim(t *testing.T, h *Host, conf string) *victim {
	t.Helper()
	v := &victim{NewCulvert(h, conf), t, conf}
	Must(t, v.Start())
	return v
}

// fails brings the tunnel up in vain, and checks why: the cause, and words that must be in the text or the comparison.
func (v *victim) fails(cause explain.Cause, words ...string) *explain.Diagnosis {
	v.t.Helper()
	err := v.Initiate("net")
	if err == nil {
		v.t.Fatalf("%s: it came up", cause)
	}
	f := v.tells(v.t).Connections[0].LastFailure
	if f == nil || f.Diagnosis == nil {
		v.t.Fatalf("%s: nothing is known of the failure %v: %+v\n%s", cause, err, f, v.Log())
	}
	return v.says(*f, cause, words...)
}

// warns waits for a warning of a cause.
func (v *victim) warns(cause explain.Cause, words ...string) *explain.Diagnosis {
	v.t.Helper()
	var found *told
	if !eventually(soon, func() bool {
		for _, w := range v.tells(v.t).Connections[0].Warnings {
			if w.Diagnosis.Cause == cause {
				found = &w
			}
		}
		return found != nil
	}) {
		v.t.Fatalf("%s: no warning:\n%s", cause, v.Log())
	}
	return v.says(*found, cause, words...)
}

// content checks that nothing is warned of any more.
func (v *victim) content(after string) {
	v.t.Helper()
	if !eventually(soon, func() bool { return len(v.tells(v.t).Connections[0].Warnings) == 0 }) {
		v.t.Errorf("%s: still %+v", after, v.tells(v.t).Connections[0].Warnings)
	}
}

// says checks a diagnosis: in the status, in one line of the log, and at length.
func (v *victim) says(f told, cause explain.Cause, words ...string) *explain.Diagnosis {
	v.t.Helper()
	d := f.Diagnosis
	if d.Cause != cause || len(d.Fixes) == 0 || f.Text != d.Text || f.Remedy != d.Remedy() {
		v.t.Fatalf("want %s: %+v %+v\n%s", cause, f, d, v.Log())
	}
	everything, _ := json.Marshal(d)
	for _, w := range words {
		if !strings.Contains(string(everything), w) {
			v.t.Errorf("%s: %q is not in %s", cause, w, everything)
		}
	}
	if !inLog(v.Log(), CulvertFailure{Kind: f.Kind, Text: f.Text, Remedy: f.Remedy}) {
		v.t.Errorf("%s: %q is not in the log\n%s", cause, f.Text, v.Log())
	}
	explained, err := v.Ctl("explain", "site")
	Must(v.t, err)
	for _, want := range append([]string{d.Text, string(cause)}, d.Fixes[0].Lines...) {
		if !strings.Contains(strings.Join(strings.Fields(explained), " "), strings.Join(strings.Fields(want), " ")) {
			v.t.Errorf("%s: %q is not in what culvert explain prints:\n%s", cause, want, explained)
		}
	}
	return d
}

// apply pastes the first fix of a diagnosis for a side into the configuration, and has it loaded.
func (v *victim) apply(d *explain.Diagnosis, side explain.Side) {
	v.t.Helper()
	i := slices.IndexFunc(d.Fixes, func(f explain.Fix) bool { return f.Side == side && len(f.Lines) > 0 })
	if i < 0 {
		v.t.Fatalf("%s: no fix with lines for %s: %+v", d.Cause, side, d.Fixes)
	}
	conf, err := Apply(v.conf, d.Fixes[i], nil)
	Must(v.t, err)
	v.load(conf)
}

func (v *victim) load(conf string) {
	v.t.Helper()
	v.conf = conf
	Must(v.t, v.Configure(conf))
	_, err := v.Ctl("reload")
	Must(v.t, err)
}

// worksOnce brings the tunnel up, and down again.
func (v *victim) worksOnce(after explain.Cause) {
	v.t.Helper()
	if err := v.Initiate("net"); err != nil {
		v.t.Fatalf("%s: the fix does not help: %v\n%s", after, err, v.Log())
	}
	Must(v.t, v.Terminate("site"))
}

// TestNetworkOnTheWay: what stands between two gateways drops, refuses or redirects.
func TestNetworkOnTheWay(t *testing.T) {
	t.Parallel()
	ref := NewReference(t, Plan{B: OneToOne})
	a := NewStrongSwan(ref.A.Host, referenceA, "retransmit_tries = 1\nretransmit_timeout = 1\nhalf_open_timeout = 3")
	Must(t, a.Start())
	conf := with(referenceB, hasty, "")
	b := newVictim(t, ref.B.Host, conf)

	// Nothing passes.
	filter := ref.Router.Drop("udp dport { 500, 4500 }")
	d := b.fails(explain.SilentPeer, "none to 6 messages", "UDP port 500", "4500", "ICMP messages")
	between(t, d, "UDP ports 500 and 4500")
	filter.Remove()
	b.worksOnce(d.Cause)

	// Port 4500 does not.
	filter = ref.Router.Drop("udp dport 4500")
	d = b.fails(explain.Silent4500, "answered at port 500", "203.0.113.1")
	between(t, d, "UDP port 4500")
	filter.Remove()
	b.worksOnce(d.Cause)

	// Port 500 does not: the tunnel comes up by the other one, and says so.
	filter = ref.Router.Drop("udp dport 500")
	Must(t, b.Initiate("net"))
	d = b.warns(explain.Silent500, "nothing answers at 203.0.113.1:500")
	Must(t, b.Terminate("site"))
	b.apply(d, explain.Here)
	b.worksOnce(d.Cause)
	b.content("with remote_port = 4500")
	filter.Remove()
	b.load(conf)

	// A firewall refuses, and says so.
	reject := ref.Router.reject("udp dport { 500, 4500 }")
	d = b.fails(explain.Unreachable, "administratively prohibited", "192.0.2.254")
	between(t, d, "allow UDP ports 500 and 4500")
	reject.Remove()
	b.worksOnce(d.Cause)

	// The peer does not run.
	Must(t, a.Stop())
	d = b.fails(explain.Unreachable, "nobody listens at UDP port 500", "203.0.113.1")
	if d.Fixes[0].Side != explain.Peer || !strings.Contains(d.Fixes[0].Text, "start the gateway") {
		t.Errorf("%+v", d.Fixes)
	}
	Must(t, a.Start())
	b.worksOnce(d.Cause)

	// A box hands on what is for port 500 of another address, one way only.
	ref.Router.nft("table ip box {\n chain in { type filter hook prerouting priority raw;\n ip daddr 203.0.113.9 udp dport 500 ip daddr set 203.0.113.1\n" +
		" ip daddr 203.0.113.9 drop\n }\n}\n")
	b.load(edit(conf, "remote_addrs = 203.0.113.1", "remote_addrs = 203.0.113.9"))
	d = b.fails(explain.OtherAddress, "203.0.113.9 was called and 203.0.113.1 answers", "no answer to IKE_AUTH")
	b.apply(d, explain.Here)
	b.worksOnce(d.Cause)

	// The name has no address, the host no way.
	b.load(edit(conf, "remote_addrs = 203.0.113.1", "remote_addrs = gateway.invalid"))
	d = b.fails(explain.NameNotResolved, "gateway.invalid")
	if !strings.Contains(d.Fixes[0].Text, "write the address of the peer") {
		t.Errorf("%+v", d.Fixes)
	}
	b.load(conf)
	b.worksOnce(d.Cause)
	Must(t, ref.B.Host.Netlink().RouteDel(&netlink.Route{Dst: &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}, Gw: net.ParseIP("172.16.0.254")}))
	b.fails(explain.NoRoute, "203.0.113.1", "unreachable")
	ref.B.Host.Route("default", "172.16.0.254")
	b.worksOnce(explain.NoRoute)
}

// between checks that the likeliest fix is to be made on the way, and names what.
func between(t *testing.T, d *explain.Diagnosis, words string) {
	t.Helper()
	if d.Fixes[0].Side != explain.Between || !strings.Contains(d.Fixes[0].Text, words) {
		t.Errorf("%s: %+v", d.Cause, d.Fixes)
	}
}

// reject refuses packets with ICMP.
func (h *Host) reject(match string) *Filter {
	h.net.t.Helper()
	f := &Filter{host: h, table: fmt.Sprintf("filter%d", filters.Add(1))}
	h.nft(fmt.Sprintf("table inet %s {\nchain forward {\ntype filter hook forward priority filter;\n%s reject with icmpx type admin-prohibited\n}\n}\n", f.table, match))
	return f
}

// TestNetworkMTU: a path loses long packets without a word, and fragmentation is off.
func TestNetworkMTU(t *testing.T) {
	t.Parallel()
	ref := NewReference(t, Plan{B: OneToOne})
	offers := func(conf string) string {
		return edit(conf, "esp_proposals = aes256gcm16", "esp_proposals = "+manyProposals())
	}
	a := NewStrongSwan(ref.A.Host, offers(referenceA), "fragment_size = 600")
	Must(t, a.Start())
	ref.Router.Drop("meta length > 1280")
	ref.Router.DropICMP()
	b := newVictim(t, ref.B.Host, with(offers(referenceB), hasty+"\nfragmentation = no", ""))
	d := b.fails(explain.MTUBlackHole, "messages of", "fragmentation = no")
	b.apply(d, explain.Here)
	b.worksOnce(d.Cause)
}

// TestNetworkWaiting: nobody calls, as both wait or as a NAT forwards nothing; and a network that is in two places.
func TestNetworkWaiting(t *testing.T) {
	t.Parallel()
	t.Run("both", func(t *testing.T) {
		t.Parallel()
		ref := NewReference(t, Plan{B: OneToOne})
		a := NewStrongSwan(ref.A.Host, referenceA)
		Must(t, a.Start())
		b := newVictim(t, ref.B.Host, referenceB)
		_, err := ref.B.Client.Ping(ref.A.Client.Addr(), Ping{Count: 1, Patience: 100 * time.Millisecond})
		Must(t, err)
		d := b.warns(explain.BothWait, "172.16.0.1, private", "packets dropped because the tunnel is down")
		b.apply(d, explain.Here)
		flows(t, ref.B.Client, ref.A.Client, soon)
		b.content("with start_action = start")

		// Containers have the network of the other site.
		ref.Net.Link(ref.B.Host, []string{"10.103.0.1/24"}, ref.Net.Host("docker0"), []string{"10.103.0.2/24"})
		nl := ref.B.Host.Netlink()
		d = b.warns(explain.OverlappingNets, "docker0", "10.103.0.0/24")
		var device, prefix string
		if _, err := fmt.Sscanf(d.Fixes[0].Lines[0], "# ip address del %s dev %s", &prefix, &device); err != nil {
			t.Fatalf("%q: %v", d.Fixes[0].Lines, err)
		}
		link, err := nl.LinkByName(device)
		Must(t, err)
		addr, err := netlink.ParseAddr(prefix)
		Must(t, err, nl.AddrDel(link, addr))
		b.content("without the network of " + device)
		flows(t, ref.B.Client, ref.A.Client, soon)
	})
	t.Run("behind a NAT", func(t *testing.T) {
		t.Parallel()
		ref := NewReference(t, Plan{A: OneToOne})
		filter := ref.A.NAT.Drop("ip daddr 172.17.0.1 udp dport { 500, 4500 } ct state new")
		a := newVictim(t, ref.A.Host, edit(referenceA, "local_addrs = 203.0.113.1\n", "local_addrs = %any\n"))
		b := newVictim(t, ref.B.Host, with(referenceB, hasty, ""))
		_, err := ref.A.Client.Ping(ref.B.Client.Addr(), Ping{Count: 1, Patience: 100 * time.Millisecond})
		Must(t, err)
		d := a.warns(explain.NotForwarded, "172.17.0.1", "from here the two look the same")
		between(t, d, "forward UDP ports 500 and 4500 to 172.17.0.1")
		between(t, b.fails(explain.SilentPeer, "none to 6 messages"), "a NAT in front of the peer, which must forward both")
		filter.Remove()
		Must(t, b.Initiate("net"))
		flows(t, ref.A.Client, ref.B.Client, soon)
		a.content("with a NAT that forwards")
	})
}

// TestNetworkLoop: two gateways have the same identity, and each takes the tunnel from the other.
func TestNetworkLoop(t *testing.T) {
	t.Parallel()
	ref := NewReference(t, Plan{B: OneToOne})
	second := ref.Net.Host("gwC")
	ref.Net.Link(second, []string{"198.51.100.1/24"}, ref.Router, []string{"198.51.100.254/24"})
	second.Route("default", "198.51.100.254")
	a := newVictim(t, ref.A.Host, edit(with(referenceA, "unique = replace", ""), "remote_ts = 10.104.0.0/24", "remote_ts = 10.104.0.0/24, 10.105.0.0/24"))
	// They do not say that they know of no other IKE SA: they may have one each.
	b := NewStrongSwan(ref.B.Host, with(referenceB, "unique = never", keepUp))
	c := NewCulvert(second, edit(with(referenceB, "unique = never", "start_action = start"), "local_ts = 10.104.0.0/24", "local_ts = 10.105.0.0/24"))
	Must(t, b.Start(), c.Start())
	d := a.warns(explain.RestartLoop, "@foo", "unique = replace")
	a.apply(d, explain.Here)
	if !eventually(soon, func() bool {
		sas, err := a.SAs()
		return err == nil && len(Established(sas, "site")) == 2
	}) {
		t.Errorf("the two do not stand side by side:\n%s", a.Log())
	}
	flows(t, ref.B.Client, ref.A.Client, soon)
}

// TestNetworkPort: strongSwan has the ports.
func TestNetworkPort(t *testing.T) {
	t.Parallel()
	ref := NewReference(t, Plan{B: OneToOne})
	a, other := NewStrongSwan(ref.A.Host, referenceA), NewStrongSwan(ref.B.Host, referenceB)
	Must(t, a.Start(), other.Start())
	b := NewCulvert(ref.B.Host, referenceB)
	err := b.Start()
	if err == nil {
		t.Fatal("it starts beside strongSwan")
	}
	for _, words := range []string{"UDP port 500 is in use by", "charon", "which is strongSwan"} {
		if !strings.Contains(b.Log(), words) {
			t.Errorf("%q is not in the log:\n%s", words, b.Log())
		}
	}
	pid := 0
	_, fix, _ := strings.Cut(b.Log(), "`kill ")
	if _, err := fmt.Sscanf(fix, "%d`", &pid); err != nil || pid != other.process.Pid() {
		t.Fatalf("it says to end process %d (%v), not %d:\n%s", pid, err, other.process.Pid(), b.Log())
	}
	Must(t, syscall.Kill(pid, syscall.SIGTERM))
	<-other.process.Done()
	Must(t, b.Start(), b.Initiate("net"))
}

// scripted answers each IKE message that comes to port 500 of a host, until the returned function is called.
func scripted(t *testing.T, g *Gateway, answer func(request []byte) []byte) (end func()) {
	t.Helper()
	conn := listenUDP(t, g.Host, netip.AddrPortFrom(g.Local, 500))
	over := make(chan struct{})
	go func() {
		defer close(over)
		b := make([]byte, 65535)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			if n < 28 {
				continue
			}
			if reply := answer(slices.Clone(b[:n])); reply != nil {
				_, _ = conn.WriteToUDPAddrPort(reply, from)
			}
		}
	}()
	return func() { conn.Close(); <-over }
}

// TestNetworkOldPeer: peers that know no IKEv2, or no NAT traversal.
func TestNetworkOldPeer(t *testing.T) {
	t.Parallel()
	ref := NewReference(t, Plan{B: OneToOne})
	b := newVictim(t, ref.B.Host, with(referenceB, hasty, ""))

	// It answers as RFC 7296 2.23 has it, but for NAT detection: with the proposal that was offered, and a value of ours for its own.
	end := scripted(t, ref.A, func(request []byte) []byte {
		var body []byte
		previous := -1
		for next, rest := request[16], request[28:]; next != 0 && len(rest) >= 4; {
			length := int(binary.BigEndian.Uint16(rest[2:]))
			this := slices.Clone(rest[:length])
			kind := next
			next, rest = rest[0], rest[length:]
			if kind != payloadSA && kind != payloadKE && kind != payloadNonce {
				continue
			}
			this[0] = 0
			if previous >= 0 {
				body[previous] = kind
			}
			previous = len(body)
			body = append(body, this...)
		}
		return header(binary.BigEndian.Uint64(request), 0x4711, payloadSA, version2, initExchange, isResponse, 0, body)
	})
	d := b.fails(explain.NoEncapsulation, "no NAT detection")
	if d.Fixes[0].Side != explain.Peer || !strings.Contains(d.Fixes[0].Text, "enable NAT traversal") {
		t.Errorf("%+v", d.Fixes)
	}
	end()

	// IKEv1 only: it answers with INVALID_MAJOR_VERSION in an Informational exchange of its own version.
	end = scripted(t, ref.A, func(request []byte) []byte {
		notify := payload(0, []byte{0, 0, 0, 1, 1, 0, 0, 5}) // IPsec DOI, ISAKMP, INVALID-MAJOR-VERSION (RFC 2408 3.14)
		return header(binary.BigEndian.Uint64(request), 0, 11, versionIKEv1, 5, 0, 7, notify)
	})
	d = b.fails(explain.IKEv1Only, "answers IKE_SA_INIT in IKEv1")
	end()

	// It calls with Main Mode, until it is made to speak IKEv2.
	peer := strings.Replace(with(referenceA, "remote_addrs = 192.0.2.10", ""), "version = 2", "version = 1", 1)
	a := NewStrongSwan(ref.A.Host, peer)
	Must(t, a.Start())
	if _, err := a.swanctl("--initiate", "--child", "net", "--timeout", "1"); err == nil {
		t.Error("IKEv1 comes up")
	}
	if !eventually(soon, func() bool {
		refused := b.tells(t).Refused
		i := slices.IndexFunc(refused, func(f told) bool { return f.Diagnosis != nil && f.Diagnosis.Cause == explain.IKEv1Only })
		return i >= 0 && strings.Contains(refused[i].Text, "calls with IKEv1 (Main Mode)") && slices.Contains(refused[i].Diagnosis.Connections, "site")
	}) {
		t.Errorf("nothing is said of Main Mode: %+v", b.tells(t).Refused)
	}
	i := slices.IndexFunc(d.Fixes, func(f explain.Fix) bool { return f.Side == explain.Peer })
	peer, err := Apply(peer, d.Fixes[i], nil)
	Must(t, err, a.Configure(peer))
	b.worksOnce(d.Cause)
}
