package gateway

import (
	"net/netip"
	"runtime"
	"runtime/metrics"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/culvert-vpn/culvert/config"
	"github.com/culvert-vpn/culvert/ident"
	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/pool"
	"github.com/culvert-vpn/culvert/vici"
)

// queryCommands tell what there is.
func queryCommands() map[string]handler {
	return map[string]handler{
		"version": tellVersion, "stats": tellStats, "list-sas": listSAs, "list-conns": listConns, "list-policies": listPolicies,
		"get-pools": getPools, "get-algorithms": getAlgorithms,
		// There are no certificates, hence none to list.
		"list-certs": listNothing, "list-authorities": listNothing,
	}
}

func listNothing(*call) (*vici.Message, error) { return &vici.Message{}, nil }

func tellVersion(*call) (*vici.Message, error) {
	m := new(vici.Message).Set("daemon", "culvert").Set("version", Version())
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return m.Set("sysname", runtime.GOOS).Set("release", "unknown").Set("machine", runtime.GOARCH), nil
	}
	text := unix.ByteSliceToString
	return m.Set("sysname", text(name.Sysname[:])).Set("release", text(name.Release[:])).Set("machine", text(name.Machine[:])), nil
}

// tellStats tells of the process what charon tells of its threads: here they are goroutines, and the lanes of the mailbox are what
// it has as queues.
func tellStats(c *call) (*vici.Message, error) {
	m := &vici.Message{}
	var began time.Time
	var lanes [3]int
	var total, halfOpen, timers int
	if err := c.gateway.do(c.ctx, func(k *control) {
		began, timers = k.began, k.endpoint.Scheduled()
		lanes = [...]int{len(k.mail.known), len(k.mail.begun), len(k.mail.unknown)}
		for _, sa := range k.endpoint.Snapshot() {
			total++
			if sa.Established.IsZero() {
				halfOpen++
			}
		}
	}); err != nil {
		return nil, err
	}
	use := measure()
	m.Section("uptime").Set("running", charonAge(time.Since(began))).Set("since", began.Format("Jan 02 15:04:05 2006"))
	workers := m.Section("workers").SetUint("total", use.goroutines).SetUint("idle", use.goroutines-min(use.goroutines, use.running))
	workers.Section("active").Set("critical", "0").Set("high", "0").SetUint("medium", use.running).Set("low", "0")
	m.Section("queues").Set("critical", strconv.Itoa(lanes[0])).Set("high", strconv.Itoa(lanes[1])).Set("medium", strconv.Itoa(lanes[2])).Set("low", "0")
	m.Set("scheduled", strconv.Itoa(timers))
	m.Section("ikesas").Set("total", strconv.Itoa(total)).Set("half-open", strconv.Itoa(halfOpen))
	m.SetList("plugins", "culvert", "vici")
	m.Section("mallinfo").SetUint("sbrk", use.heap).SetUint("mmap", use.total-use.heap).SetUint("used", use.objects).SetUint("free", use.heap-min(use.heap, use.objects))
	return m, nil
}

// usage is what the process has of the machine; memory in bytes.
type usage struct{ goroutines, running, heap, total, objects uint64 }

func measure() (u usage) {
	samples := []metrics.Sample{
		{Name: "/sched/goroutines:goroutines"}, {Name: "/sched/goroutines/running:goroutines"},
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/unused:bytes"}, {Name: "/memory/classes/heap/free:bytes"},
		{Name: "/memory/classes/total:bytes"},
	}
	metrics.Read(samples)
	n := make([]uint64, len(samples))
	for i, s := range samples {
		if s.Value.Kind() == metrics.KindUint64 {
			n[i] = s.Value.Uint64()
		}
	}
	return usage{goroutines: n[0], running: n[1], objects: n[2], heap: n[2] + n[3] + n[4], total: n[5]}
}

// listConns tells of every configured connection, the shunts among its children.
func listConns(c *call) (*vici.Message, error) {
	only := c.args.Text("ike")
	var list []*vici.Message
	if err := c.gateway.do(c.ctx, func(k *control) {
		shunts := make(map[string][]config.Shunt)
		var apart []string // connections that have shunts and nothing else
		for _, s := range k.shunts {
			if k.conns[s.Conn] == nil && shunts[s.Conn] == nil {
				apart = append(apart, s.Conn)
			}
			shunts[s.Conn] = append(shunts[s.Conn], s)
		}
		for _, conn := range k.order {
			if only == "" || only == conn.cfg.Name {
				list = append(list, new(vici.Message).Add(conn.cfg.Name, describeConn(conn.cfg, shunts[conn.cfg.Name])))
			}
		}
		for _, name := range apart {
			if only == "" || only == name {
				list = append(list, new(vici.Message).Add(name, describeConn(&ike.Connection{Name: name}, shunts[name])))
			}
		}
	}); err != nil {
		return nil, err
	}
	return c.streamAll("list-conn", list)
}

// describeConn is all of a connection, with its children and shunts.
func describeConn(conn *ike.Connection, shunts []config.Shunt) *vici.Message {
	m := &vici.Message{}
	m.SetList("local_addrs", orAny(networks(conn.LocalAddrs), "")...).SetList("remote_addrs", orAny(networks(conn.RemoteAddrs), conn.RemoteHost)...)
	m.SetUint("local_port", uint64(orIKE(conn.LocalPort))).SetUint("remote_port", uint64(orIKE(conn.RemotePort)))
	m.Set("version", "IKEv2").Set("reauth_time", seconds(conn.ReauthTime)).Set("rekey_time", seconds(conn.RekeyTime))
	m.Set("unique", charonUnique(conn.Unique))
	if conn.DPDDelay > 0 {
		m.Set("dpd_delay", seconds(conn.DPDDelay))
	}
	local := ""
	if !conn.LocalID.IsZero() {
		local = charonID(conn.LocalID)
	}
	class := "pre-shared key"
	if len(conn.Proposals) == 0 { // it is there for its shunts alone
		class = ""
	}
	describeAuth(m.Section("local-1"), local, class)
	remote := ""
	if conn.RemoteID != (ident.Pattern{}) && !conn.RemoteID.IsAny() {
		remote = charonPattern(conn.RemoteID)
	}
	describeAuth(m.Section("remote-1"), remote, class)
	children := m.Section("children")
	for _, child := range conn.Children {
		k := children.Section(child.Name).Set("mode", charonMode(child.Mode))
		describeLifetime(k, child.Rekey).Set("dpd_action", charonAction(child.DPDAction)).Set("close_action", charonAction(child.CloseAction))
		k.SetList("local-ts", charonSpecs(child.LocalTS)...).SetList("remote-ts", charonSpecs(child.RemoteTS)...)
		if child.Priority != 0 {
			k.Set("priority", strconv.Itoa(child.Priority))
		}
	}
	for _, s := range shunts {
		k := children.Section(s.Name).Set("mode", shuntMode(&s))
		describeLifetime(k, ike.Lifetime{}).Set("dpd_action", "none").Set("close_action", "none")
		k.SetList("local-ts", charonSelectors(s.Local)...).SetList("remote-ts", charonSelectors(s.Remote)...)
		if s.Priority != 0 {
			k.Set("priority", strconv.Itoa(s.Priority))
		}
	}
	return m
}

// describeAuth is how one end proves who it is.
func describeAuth(m *vici.Message, id, class string) {
	m.SetIf("id", id).SetIf("class", class).SetList("groups").SetList("cert_policy").SetList("certs").SetList("cacerts")
}

func describeLifetime(m *vici.Message, l ike.Lifetime) *vici.Message {
	return m.Set("rekey_time", seconds(l.Time)).SetUint("rekey_bytes", l.Bytes).SetUint("rekey_packets", l.Packets)
}

// networks are prefixes, those of one address without their length.
func networks(list []netip.Prefix) []string {
	var texts []string
	for _, p := range list {
		if p.IsSingleIP() {
			texts = append(texts, p.Addr().String())
		} else {
			texts = append(texts, p.String())
		}
	}
	return texts
}

// orAny is a list of addresses with the host that is called in front, or any address.
func orAny(list []string, host string) []string {
	if host != "" && !slices.Contains(list, host) {
		list = append([]string{host}, list...)
	}
	if len(list) == 0 {
		return []string{"%any"}
	}
	return list
}

func orIKE(port uint16) uint16 {
	if port == 0 {
		return 500
	}
	return port
}

func shuntMode(s *config.Shunt) string {
	if s.Pass {
		return "PASS"
	}
	return "DROP"
}

// listPolicies tells of the policies that wait for a packet, and of those without a tunnel.
func listPolicies(c *call) (*vici.Message, error) {
	f := filter{ike: c.args.Text("ike"), child: c.args.Text("child")}
	wants := func(kind string) bool { _, ok := c.args.Bytes(kind); return ok }
	var list []*vici.Message
	add := func(conn, child, mode string, local, remote []string) *vici.Message {
		if f.ike != "" && f.ike != conn || f.child != "" && f.child != child {
			return &vici.Message{}
		}
		m := new(vici.Message).Set("child", child).Set("ike", conn).Set("mode", mode).SetList("local-ts", local...).SetList("remote-ts", remote...)
		list = append(list, new(vici.Message).Add(conn+"/"+child, m))
		return m
	}
	if err := c.gateway.do(c.ctx, func(k *control) {
		for _, w := range k.endpoint.Wishes() {
			if child := k.childOf(w.Conn, w.Child); w.Trapped && wants("trap") && child != nil {
				add(w.Conn, w.Child, charonMode(child.Mode), charonSpecs(child.LocalTS), charonSpecs(child.RemoteTS))
			}
		}
		for _, s := range k.shunts {
			if s.Pass && wants("pass") || !s.Pass && wants("drop") {
				add(s.Conn, s.Name, shuntMode(&s), charonSelectors(s.Local), charonSelectors(s.Remote))
			}
		}
	}); err != nil {
		return nil, err
	}
	return c.streamAll("list-policy", list)
}

// childOf is a configured child; nil if there is none.
func (c *control) childOf(conn, child string) *ike.Child {
	if found := c.conns[conn]; found != nil {
		for _, k := range found.cfg.Children {
			if k.Name == child {
				return k
			}
		}
	}
	return nil
}

// getPools tells of the pools, and on request of who has which address.
func getPools(c *call) (*vici.Message, error) {
	only := c.args.Text("name")
	leases, _ := c.args.Bytes("leases")
	m := &vici.Message{}
	err := c.gateway.do(c.ctx, func(k *control) {
		lent := make(map[string][]pool.Lease)
		for _, l := range k.leases.Leases() {
			lent[l.Pool] = append(lent[l.Pool], l)
		}
		for _, r := range k.leases.Ranges() {
			if only == "" || only == r.Name {
				describePool(m.Section(r.Name), r, lent[r.Name], len(leases) > 0)
			}
		}
	})
	return m, err
}

// describePool is all of a pool. Who has which address is a section for each.
func describePool(m *vici.Message, r pool.Range, lent []pool.Lease, leases bool) {
	online := 0
	list := &vici.Message{}
	for i, l := range lent {
		status := "offline"
		if l.Online > 0 {
			status = "online"
			online++
		}
		list.Section(strconv.Itoa(i)).Set("address", l.Addr.String()).Set("identity", charonID(l.Owner)).Set("status", status)
	}
	m.Set("base", baseOf(r).String()).SetUint("size", r.Size()).Set("online", strconv.Itoa(online)).Set("offline", strconv.Itoa(len(lent)-online))
	if leases {
		m.Add("leases", list)
	}
}

// baseOf is where a pool begins: of all of a network, which is lent but for its first and last address, that is the network's.
func baseOf(r pool.Range) netip.Addr {
	before, after := r.First.Prev(), r.Last.Next()
	for bits := before.BitLen() - 2; before.IsValid() && after.IsValid() && bits >= 0; bits-- {
		network := netip.PrefixFrom(before, bits).Masked()
		if network.Addr() != before {
			break
		}
		if network.Contains(after) {
			if next := after.Next(); !next.IsValid() || !network.Contains(next) {
				return before
			}
			break
		}
	}
	return r.First
}
