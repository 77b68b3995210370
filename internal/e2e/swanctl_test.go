//go:build linux

package e2e

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// operated is a daemon that swanctl is pointed at.
type operated interface {
	Peer
	swanctl(args ...string) (string, error)
	swanctlCommand(args ...string) Command
	hostOf() *Host
}

func (s *StrongSwan) hostOf() *Host { return s.host }
func (s *StrongSwan) swanctlCommand(args ...string) Command {
	return s.command("/usr/sbin/swanctl", append(args, "--uri", "unix:///run/charon.vici")...)
}

func (c *Culvert) hostOf() *Host { return c.host }
func (c *Culvert) swanctlCommand(args ...string) Command {
	env := []string{"STRONGSWAN_CONF=/run/strongswan.conf", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	return Command{Path: "/usr/sbin/swanctl", Args: append(args, "--uri", "unix:///run/control"), Env: env, Run: c.dir}
}

// swanctl runs an unmodified swanctl against this daemon.
func (c *Culvert) swanctl(args ...string) (string, error) {
	if err := os.WriteFile(filepath.Join(c.dir, "strongswan.conf"), []byte("swanctl {\n load = random openssl\n}\n"), 0o600); err != nil {
		return "", err
	}
	out, err := c.host.Run(c.swanctlCommand(args...))
	if err != nil {
		return "", fmt.Errorf("%w\n%s", err, strings.TrimSpace(out))
	}
	return out, nil
}

// The configurations of the comparison: a gateway A with a pool, and a client B that gets an address of it; each has a network that
// goes past the tunnel.
func swanctlPair() (confA, confB string) {
	const lan = `
connections {
	past {
		version = 2
		children {
			lan {
				mode = pass
				local_ts = 10.250.1.0/24
				remote_ts = 10.250.2.0/24
				start_action = trap
			}
		}
	}
}
`
	confA = edit(with(referenceA, "pools = four\nrekey_time = 4h\ndpd_delay = 30s\n", "rekey_time = 1h\nlife_time = 66m\n"), "remote_ts = 10.104.0.0/24", "remote_ts = dynamic")
	confA += lan + "pools {\n\tfour {\n\t\taddrs = 10.11.0.0/24\n\t}\n}\n"
	confB = edit(with(referenceB, "vips = 0.0.0.0\nrekey_time = 4h\ndpd_delay = 30s\n", "rekey_time = 1h\nlife_time = 66m\n"), "local_ts = 10.104.0.0/24", "local_ts = dynamic")
	confB += lan
	return confA, confB
}

// transcript is what swanctl printed, by command.
type transcript struct {
	steps []string
	said  map[string]string
}

func (t *transcript) add(step, text string) {
	if t.said == nil {
		t.said = make(map[string]string)
	}
	t.steps = append(t.steps, step)
	t.said[step] = text
}

// buffer takes the output of a program that goes on.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// TestSwanctl has an unmodified swanctl do with Culvert what it does with charon, on either side of a tunnel between the two, and
// compares what it prints line by line. What is different stands in docs/vici.md, and nothing else may be.
func TestSwanctl(t *testing.T) {
	t.Parallel()
	var charonA, charonB, culvertA, culvertB transcript
	t.Run("play", func(t *testing.T) {
		confA, confB := swanctlPair()
		settings := "load = " + strings.Replace(plugins, "vici", "counters vici", 1)
		t.Run("charon calls", func(t *testing.T) {
			t.Parallel()
			ref := NewReference(t, Plan{B: OneToOne})
			operate(t, ref, NewCulvert(ref.A.Host, confA), NewStrongSwan(ref.B.Host, confB, settings), &culvertA, &charonB)
		})
		t.Run("Culvert calls", func(t *testing.T) {
			t.Parallel()
			ref := NewReference(t, Plan{B: OneToOne})
			b := NewCulvert(ref.B.Host, confB, "--vici", "/run/charon.vici")
			operate(t, ref, NewStrongSwan(ref.A.Host, confA, settings), b, &charonA, &culvertB)
			c := b.swanctlCommand("--version", "--daemon")
			c.Args = c.Args[:2] // no --uri: at the place where charon would be
			if out, err := ref.B.Host.Run(c); err != nil || !strings.Contains(out, "culvert") {
				t.Errorf("swanctl without --uri: %v, %s", err, out)
			}
		})
	})
	if t.Failed() {
		return
	}
	known := readDifferences(t)
	compare(t, "A", &charonA, &culvertA, known)
	compare(t, "B", &charonB, &culvertB, known)
	for _, d := range known {
		if !d.used && !t.Failed() {
			t.Errorf("docs/vici.md: there is no such difference any more: %s | %s | %s", d.command, d.charon, d.culvert)
		}
	}
}

// operate goes through what an operator does, and notes what both ends say.
func operate(t *testing.T, ref *Reference, a, b operated, saidA, saidB *transcript) {
	Must(t, a.Start(), b.Start())
	both := func(step string, args ...string) {
		t.Helper()
		for _, end := range []struct {
			peer operated
			said *transcript
		}{{a, saidA}, {b, saidB}} {
			out, err := end.peer.swanctl(args...)
			if err != nil {
				t.Fatalf("%s: %s: %v", end.peer.hostOf().Name, step, err)
			}
			end.said.add(step, out)
		}
	}
	atB := func(step string, args ...string) {
		t.Helper()
		out, err := b.swanctl(args...)
		if err != nil {
			t.Fatalf("%s: %v", step, err)
		}
		saidB.add(step, out)
	}
	var log, monitor buffer
	watch := func(args []string, out *buffer) func() {
		c := b.swanctlCommand(args...)
		c.Stdout = out
		p, err := b.hostOf().Start(c)
		Must(t, err)
		return func() { Must(t, p.Signal(os.Interrupt)); <-p.Done() }
	}
	both("version", "--version", "--daemon")
	stopLog := watch([]string{"--log"}, &log)
	stopMonitor := watch([]string{"--monitor-sa", "--pretty"}, &monitor)
	both("stats", "--stats")
	both("algorithms", "--list-algs")
	both("connections", "--list-conns")
	both("connections, pretty", "--list-conns", "--pretty")
	both("policies", "--list-pols")
	both("policies, pretty", "--list-pols", "--pretty")
	both("pools before", "--list-pools")
	both("no SAs", "--list-sas")
	both("certificates", "--list-certs")
	both("authorities", "--list-authorities")

	atB("initiate", "--initiate", "--child", "net", "--timeout", "30")
	vip := "10.11.0.1"
	if out, err := ref.B.Host.Ping(ref.A.Client.Addr(), Ping{Count: 10, From: netip.MustParseAddr(vip)}); err != nil || out.Lost() != 0 {
		t.Fatalf("%v, %v", out, err)
	}
	ping, err := ref.A.Client.Ping(netip.MustParseAddr(vip), Ping{Count: 10})
	if err != nil || ping.Lost() != 0 {
		t.Fatalf("%v, %v", ping, err)
	}
	both("SAs", "--list-sas")
	both("SAs, pretty", "--list-sas", "--pretty")
	both("SAs of a name", "--list-sas", "--ike", "site", "--child", "net")
	both("SAs of another name", "--list-sas", "--ike", "other")
	both("pools", "--list-pools")
	both("pools with leases", "--list-pools", "--leases")
	both("pools, pretty", "--list-pools", "--leases", "--pretty")
	both("stats with SAs", "--stats")
	both("counters", "--counters")
	both("counters of a connection", "--counters", "--name", "site")
	both("counters of all", "--counters", "--all")

	atB("rekey the child", "--rekey", "--child", "net")
	comesTo(t, b, func(sa SA) bool { return len(Installed([]SA{sa}, "net")) == 1 && Installed([]SA{sa}, "net")[0].ID > 1 })
	atB("rekey the IKE SA", "--rekey", "--ike", "site")
	comesTo(t, b, func(sa SA) bool { return sa.ID > 1 })
	both("counters after rekeying", "--counters")
	both("reset", "--counters", "--reset")

	atB("terminate", "--terminate", "--ike", "site", "--timeout", "30")
	both("SAs after all", "--list-sas")
	// Whether the two listened from the beginning is not known: so once more.
	atB("initiate again", "--initiate", "--child", "net", "--timeout", "30")
	atB("terminate the child", "--terminate", "--child", "net", "--timeout", "30")
	both("an IKE SA without a child", "--list-sas")
	atB("terminate by force", "--terminate", "--ike", "site", "--force")
	stopMonitor()
	stopLog()
	heard := monitor.String()
	saidB.add("monitor", heard[max(0, strings.LastIndex(heard, "ike-updown event {\n  up = yes")):])
	saidB.add("log", log.String())
	for _, wrong := range [][]string{
		{"--initiate", "--child", "nobody"}, {"--initiate", "--ike", "nobody"}, {"--terminate", "--ike", "nobody"}, {"--rekey", "--child", "nobody"},
		{"--terminate", "--child-id", "12345"},
	} {
		if out, err := b.swanctl(wrong...); err == nil {
			t.Errorf("%s: swanctl %v succeeds: %s", b.hostOf().Name, wrong, out)
		}
	}
}

// comesTo waits until a daemon has an IKE SA that is established and is as it should be.
func comesTo(t *testing.T, p operated, ok func(SA) bool) {
	t.Helper()
	if !eventually(soon, func() bool {
		text, err := p.swanctl("--list-sas", "--pretty")
		if err != nil {
			return false
		}
		sas, err := parseSAs(text)
		return err == nil && slices.ContainsFunc(Established(sas, "site"), ok)
	}) {
		t.Fatalf("%s: it never came to that", p.hostOf().Name)
	}
}

// difference is a row of docs/vici.md: a line of charon's, a line of Culvert's in its place, either of which may be missing.
type difference struct {
	command, charon, culvert string
	used                     bool
}

// readDifferences reads the table of docs/vici.md.
func readDifferences(t *testing.T) []*difference {
	repo, err := repository()
	Must(t, err)
	text, err := os.ReadFile(filepath.Join(repo, "docs", "vici.md"))
	Must(t, err)
	var list []*difference
	_, table, _ := strings.Cut(string(text), "<!-- differences -->")
	table, _, _ = strings.Cut(table, "<!-- end -->")
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) < 4 || strings.HasPrefix(strings.TrimSpace(cells[0]), "---") || strings.TrimSpace(cells[0]) == "swanctl" {
			continue
		}
		cell := func(i int) string { return strings.Trim(strings.TrimSpace(cells[i]), "`") }
		list = append(list, &difference{command: cell(0), charon: cell(1), culvert: cell(2)})
	}
	return list
}

// volatile is what differs from one run to the next, or between two ends.
var volatile = []struct {
	pattern *regexp.Regexp
	instead string
}{
	{regexp.MustCompile(`\b[0-9a-f]{16}(_[ir])?`), "SPI$1"},
	{regexp.MustCompile(`\b[0-9a-f]{8}\b`), "SPI"},
	{regexp.MustCompile(`#\d+`), "#N"},
	{regexp.MustCompile(`\b\d+s ago`), "Ns ago"},
	{regexp.MustCompile(`(rekeying|reauth|expires) in \d+s`), "$1 in Ns"},
	{regexp.MustCompile(` +\d+ bytes, +\d+ packets`), " N bytes, N packets"},
	{regexp.MustCompile(`, +Ns ago`), ", Ns ago"},
	{regexp.MustCompile(`(uniqueid|established|rekey-time|life-time|install-time|(bytes|packets|use)-(in|out)|reqid) = \d+`), "$1 = N"},
	{regexp.MustCompile(`(\w+)-\d+ \{`), "$1-N {"},
	{regexp.MustCompile(`uptime: .*`), "uptime: T"},
	{regexp.MustCompile(`worker threads: .*`), "worker threads: N"},
	{regexp.MustCompile(`job queues: .*`), "job queues: N"},
	{regexp.MustCompile(`jobs scheduled: \d+`), "jobs scheduled: N"},
	{regexp.MustCompile(`mallinfo: .*`), "mallinfo: N"},
	{regexp.MustCompile(`loaded plugins: .*`), "loaded plugins: P"},
	{regexp.MustCompile(`^(  \w+\[).*\]$`), "${1}P]"},
}

// lines are what was printed, without what is volatile, and without the words of logs.
func lines(step, text string) (list []string) {
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n ")
		for _, v := range volatile {
			line = v.pattern.ReplaceAllString(line, v.instead)
		}
		if m := logLine.FindString(line); m != "" {
			line = "LOG"
		}
		if line != "" && !(line == "LOG" && len(list) > 0 && list[len(list)-1] == "LOG") {
			list = append(list, line)
		}
	}
	if step == "algorithms" {
		slices.Sort(list)
	}
	return list
}

// logLine is a line of --log, or of the progress of a command.
var logLine = regexp.MustCompile(`^(\d\d)?\[[A-Z]{3}\] `)

// compare compares two transcripts.
func compare(t *testing.T, end string, charon, culvert *transcript, known []*difference) {
	if !slices.Equal(charon.steps, culvert.steps) {
		t.Fatalf("end %s: charon did %v, Culvert %v", end, charon.steps, culvert.steps)
	}
	for _, step := range charon.steps {
		for _, h := range hunks(lines(step, charon.said[step]), lines(step, culvert.said[step])) {
			for _, d := range known {
				if ok, _ := filepath.Match(d.command, step); ok {
					d.explain(&h)
				}
			}
			if len(h.charon)+len(h.culvert) > 0 {
				t.Errorf("end %s, %s:\nonly charon: %q\nonly Culvert: %q\n--- charon\n%s\n--- Culvert\n%s", end, step, h.charon, h.culvert, charon.said[step], culvert.said[step])
			}
		}
	}
}

// hunk are lines in one place that only one of the two has.
type hunk struct{ charon, culvert []string }

// hunks are the differences of two texts, the fewest that there can be.
func hunks(a, b []string) (list []hunk) {
	common := make([][]int, len(a)+1) // the length of the longest common sequence of what is left
	for i := range common {
		common[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if common[i][j] = max(common[i+1][j], common[i][j+1]); a[i] == b[j] {
				common[i][j] = common[i+1][j+1] + 1
			}
		}
	}
	var h hunk
	end := func() {
		if len(h.charon)+len(h.culvert) > 0 {
			list = append(list, h)
		}
		h = hunk{}
	}
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			end()
			i, j = i+1, j+1
		case j == len(b) || i < len(a) && common[i+1][j] >= common[i][j+1]:
			h.charon = append(h.charon, a[i])
			i++
		default:
			h.culvert = append(h.culvert, b[j])
			j++
		}
	}
	end()
	return list
}

// explain takes the lines out of a hunk that a row is about.
func (d *difference) explain(h *hunk) {
	for {
		i, j := find(h.charon, d.charon), find(h.culvert, d.culvert)
		if i < 0 && d.charon != "" || j < 0 && d.culvert != "" {
			return
		}
		d.used = true
		if i >= 0 {
			h.charon = slices.Delete(h.charon, i, i+1)
		}
		if j >= 0 {
			h.culvert = slices.Delete(h.culvert, j, j+1)
		}
	}
}

// find is where the first line is that a pattern matches, in which * is anything.
func find(list []string, pattern string) int {
	if pattern == "" {
		return -1
	}
	parts := strings.Split(pattern, "*")
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	re := regexp.MustCompile("^" + strings.Join(parts, ".*") + "$")
	return slices.IndexFunc(list, func(line string) bool { return re.MatchString(strings.TrimSpace(line)) })
}
