package doctor

import (
	"errors"
	"io/fs"
	"net/netip"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/culvert-vpn/culvert/explain"
	"github.com/culvert-vpn/culvert/gateway"
	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/internal/holder"
	"github.com/culvert-vpn/culvert/offload"
	"github.com/culvert-vpn/culvert/ts"
	"github.com/culvert-vpn/culvert/udp"
)

func TestJudge(t *testing.T) {
	charon := []holder.Process{{Name: "charon", PID: 12, Unit: "strongswan.service"}}
	full := udp.Facts{Offloads: offload.All}
	for _, c := range []struct {
		name   string
		got    Check
		result Result
		cause  explain.Cause
		words  string
		fix    string // a line
	}{
		{"free", judgePort(500, nil, false, false), OK, "", "UDP port 500 is free", ""},
		{"another daemon", judgePort(4500, charon, false, false), Failure, explain.PortInUse, "UDP port 4500 is in use by \"charon\" (process 12 of strongswan.service), which is strongSwan", "# systemctl disable --now strongswan.service"},
		{"another daemon beside ours", judgePort(500, charon, true, false), Failure, explain.PortInUse, "charon", "# systemctl disable --now strongswan.service"},
		{"ours", judgePort(500, []holder.Process{{Name: "culvert", PID: 13}}, true, true), OK, "", "the running daemon", ""},
		{"ours elsewhere", judgePort(500, nil, true, true), Warning, "", "another network namespace", ""},
		{"all capabilities", judgeCapabilities("CapInh:\t0\nCapEff:\t000001ffffffffff\n", 1024), OK, "", "this user may", ""},
		{"no capabilities", judgeCapabilities("CapEff:\t0000000000000000\n", 1024), Warning, "", "lacks CAP_NET_ADMIN and CAP_NET_BIND_SERVICE", ""},
		{"ports are free for all", judgeCapabilities("CapEff:\t0000000000001000\n", 0), OK, "", "", ""},
		{"no status", judgeCapabilities("", 1024), Unknown, "", "cannot be read", ""},
		{"tun", judgeTUN(nil, false, false), OK, "", "is there", ""},
		{"no tun", judgeTUN(fs.ErrNotExist, true, false), Failure, "", "there is no /dev/net/tun", "# modprobe tun"},
		{"not for us", judgeTUN(fs.ErrPermission, false, true), Unknown, "", "may not be opened", ""},
		{"broken", judgeTUN(errors.New("it smokes"), false, false), Failure, "", "it smokes", "# modprobe tun"},
		{"forwarding", judgeHint(gateway.Hint{ID: "ip-forwarding", Text: "off", Remedy: "sysctl -w a=1", Command: true}, true), Warning, "", "off", "# sysctl -w a=1"},
		{"forwarding for nobody", judgeHint(gateway.Hint{ID: "ip-forwarding", Text: "off", Remedy: "sysctl -w a=1", Command: true}, false), Note, "", "needs none", ""},
		{"another hint", judgeHint(gateway.Hint{ID: "networkd", Text: "removes", Remedy: "write x"}, false), Warning, "", "removes", ""},
		{"buffers", judgeSockets(full)[0], OK, "", "", ""},
		{"small buffers", judgeSockets(udp.Facts{Recv: udp.Buffer{Asked: 4 << 20, Granted: 212992}})[0], Warning, "", "212992 bytes instead of 4194304", "# sysctl -w net.core.rmem_max=4194304"},
		{"fast paths", judgeSockets(full)[1], OK, "", "", ""},
		{"slow", judgeSockets(udp.Facts{Offloads: offload.Batch})[1], Note, "", "udp-segment,udp-gro", ""},
		{"clock", judgeClock(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), true, true), OK, "", "", ""},
		{"alone", judgeClock(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), false, true), Note, "", "nothing keeps the clock", ""},
		{"1970", judgeClock(time.Unix(100, 0).UTC(), true, true), Warning, explain.ClockJumps, "1970-01-01", "# timedatectl set-ntp true"},
		{"no unit", judgeUnit(unit{name: "culvert.service", load: "not-found"}), Note, "", "not installed", ""},
		{"masked", judgeUnit(unit{name: "culvert.service", load: "masked"}), Warning, "", "masked", "# systemctl unmask culvert.service"},
		{"failed", judgeUnit(unit{name: "culvert.service", load: "loaded", active: "failed", result: "exit-code", restarts: 5}), Failure, "", "(exit-code); systemd has restarted it 5 times", "# journalctl -u culvert.service -e"},
		{"disabled", judgeUnit(unit{name: "culvert.service", load: "loaded", active: "active", file: "disabled"}), Warning, "", "next boot", "# systemctl enable culvert.service"},
		{"active", judgeUnit(unit{name: "culvert.service", load: "loaded", active: "active", sub: "running", file: "enabled"}), OK, "", "is active (running)", ""},
		{"long packets", judgeReach("a", addr("203.0.113.1"), way{device: "eth0"}, reach{arrives: 1500}), OK, "", "1500 bytes", ""},
		{"short packets", judgeReach("a", addr("203.0.113.1"), way{device: "eth0"}, reach{arrives: 1400, lost: 1420, icmp: &icmpError{code: tooBig, mtu: 1400}}), Note, "", "1420 bytes do not: this host says", ""},
		{"a black hole", judgeReach("a", addr("203.0.113.1"), way{device: "eth0"}, reach{arrives: 1400, lost: 1420}), Warning, explain.MTUBlackHole, "no router says so", "# ip route replace 203.0.113.1 dev eth0 mtu 1400"},
	} {
		line := ""
		if len(c.got.Fixes) > 0 && len(c.got.Fixes[0].Lines) > 0 {
			line = c.got.Fixes[0].Lines[0]
		}
		if c.got.Result != c.result || c.got.Cause != c.cause || !strings.Contains(c.got.Text, c.words) || line != c.fix || c.got.ID == "" || c.got.Group == "" {
			t.Errorf("%s: %+v, want %s (%s), %q, %q", c.name, c.got, c.result, c.cause, c.words, c.fix)
		}
	}
}

func TestJudgeMode(t *testing.T) {
	root := fstest.MapFS{"good": {Mode: 0o640}, "bad": {Mode: 0o664}}
	if _, ok := judgeMode("good", root.Stat); !ok {
		t.Error("a file that others may read")
	}
	if c, ok := judgeMode("bad", root.Stat); ok || c.Fixes[0].Lines[0] != "# chmod go-w bad" {
		t.Errorf("a file that others may write: %+v", c)
	}
	if _, ok := judgeMode("absent", root.Stat); !ok {
		t.Error("a file that is not there")
	}
}

func TestJudgeOverlaps(t *testing.T) {
	have := []network{{netip.MustParsePrefix("172.17.0.0/16"), "docker0", true}, {netip.MustParsePrefix("10.9.0.0/16"), "eth1", false}, {netip.MustParsePrefix("fd00::/64"), "eth0", true}}
	for remote, want := range map[string]string{
		"10.103.0.0/24": "", "172.16.0.0/12": "this host is itself in 172.17.0.0/16 on docker0", "172.17.5.0/24": "docker0", "10.9.1.0/24": "this host routes 10.9.0.0/16 to eth1",
		"0.0.0.0/0": "", "::/0": "", "128.0.0.0/1": "", "fd00::/48": "fd00::/64 on eth0", "dynamic": "",
	} {
		spec, err := ts.ParseSpec(remote)
		if err != nil {
			t.Fatal(err)
		}
		got := judgeOverlaps([]*ike.Connection{{Name: "a", Children: []*ike.Child{{Name: "net", RemoteTS: []ts.Spec{spec}}}}}, have)
		if want == "" && len(got) != 0 || want != "" && (len(got) != 1 || got[0].Cause != explain.OverlappingNets || !strings.Contains(got[0].Text, want)) {
			t.Errorf("%s: %+v, want %q", remote, got, want)
		}
	}
}

func TestJudgeStatus(t *testing.T) {
	got := judgeStatus(&gateway.Status{Connections: []gateway.ConnectionStatus{{Name: "a", Up: true}, {Name: "b", LastFailure: &gateway.Failure{Text: "no answer", Remedy: "look"}}, {Name: "c"},
		{Name: "d", LastFailure: &gateway.Failure{Text: "no answer", Remedy: "look", Diagnosis: &explain.Diagnosis{Cause: explain.SilentPeer, Fixes: []explain.Fix{{Side: explain.Peer, Text: "wake up"}}}}},
	}})
	if len(got) != 3 || got[2].Cause != explain.SilentPeer || got[2].Fixes[0].Text != "wake up" || !strings.Contains(got[0].Text, "1 of 4 connections up") || got[1].Connection != "b" || got[1].Result != Warning || got[1].Fixes[0].Text != "look" {
		t.Errorf("%+v", got)
	}
}
