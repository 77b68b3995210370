package compare

import (
	"bufio"
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Profile says where a daemon spent its time.
type Profile struct {
	Case    string             `json:"case"`
	Subject string             `json:"subject"`
	Side    string             `json:"side"`   // a, which makes the tunnel, or b
	Shares  map[string]float64 `json:"shares"` // percent of the samples, by part
}

// parts are what a profile is summed up to, in order: a function is of the first part that fits. Lines of perf report are matched,
// in which functions of the kernel are marked by [k].
var parts = []struct {
	name string
	fits *regexp.Regexp
}{
	{"encryption and integrity", regexp.MustCompile(`(?i)gcm|\baes\b|ghash|chacha|poly1305`)},
	{"checksums, cutting and merging", regexp.MustCompile(`tun\.sum|tun\.complete|tun\.\(\*Super\)|internal/inet\.(add|sum|checksum|Add|Sum|Checksum)|gateway\.\(\*(writer|bundle|flow)\)|memeqbody|csum`)},
	{"kernel: copies to and from the daemon", regexp.MustCompile(`\[k\].*(copy_(to|from)_(iter|user)|copy_user|copy_iovec|rep_movs|memcpy|skb_copy|copy_page)`)},
	{"kernel: sleeping, waking up, interrupts", regexp.MustCompile(`\[k\].*(finish_task_switch|schedule|wake|spin_unlock_irq|futex|ep_poll|epoll|task_fair|pick_next|irqentry|handle_softirqs)`)},
	{"kernel: all else (sockets, routes, devices)", regexp.MustCompile(`\[k\]`)},
	{"copies within the daemon", regexp.MustCompile(`runtime\.mem(move|clr)`)},
	{"Go: scheduler, system calls", regexp.MustCompile(`runtime|syscall|internal/poll|vdso`)},
	{"all else of the daemon", regexp.MustCompile(``)},
}

// shares sums up what perf report prints: percent, program or library, function.
func shares(report []byte) map[string]float64 {
	sums := map[string]float64{}
	lines := bufio.NewScanner(bytes.NewReader(report))
	for lines.Scan() {
		number, rest, ok := strings.Cut(strings.TrimSpace(lines.Text()), "%")
		percent, err := strconv.ParseFloat(number, 64)
		if !ok || err != nil {
			continue
		}
		for _, p := range parts {
			if p.fits.MatchString(rest) {
				sums[p.name] += percent
				break
			}
		}
	}
	return sums
}

// profiles writes the table of the profiles.
func (r *Report) profiles(b *strings.Builder) {
	if len(r.Profiles) == 0 {
		return
	}
	b.WriteString("\n**Where the daemons spend their time**, percent; a sends, b receives, in cases of one direction.\n\n| |")
	for _, p := range r.Profiles {
		fmt.Fprintf(b, " %s, %s: %s |", p.Subject, p.Case, p.Side)
	}
	b.WriteString("\n|" + strings.Repeat(" --- |", len(r.Profiles)+1) + "\n")
	for _, part := range parts {
		fmt.Fprintf(b, "| %s |", part.name)
		for _, p := range r.Profiles {
			fmt.Fprintf(b, " %.1f |", p.Shares[part.name])
		}
		b.WriteString("\n")
	}
}
