//go:build linux

package lab

import (
	"os"
	"strconv"
	"strings"
)

// Counters are the counters of the host's kernel by name, as nstat(8) has them: "TcpExtTCPOFOQueue", "Ip6InCEPkts".
func (h *Host) Counters() map[string]int {
	h.t.Helper()
	all := make(map[string]int)
	Must(h.t, h.Do(func() error {
		for _, name := range []string{"snmp", "netstat"} {
			text, err := os.ReadFile("/proc/thread-self/net/" + name)
			if err != nil {
				return err
			}
			lines := strings.Split(strings.TrimSpace(string(text)), "\n")
			for i := 1; i < len(lines); i += 2 {
				names, values := strings.Fields(lines[i-1]), strings.Fields(lines[i])
				prefix := strings.TrimSuffix(names[0], ":")
				for k := 1; k < min(len(names), len(values)); k++ {
					all[prefix+names[k]], _ = strconv.Atoi(values[k])
				}
			}
		}
		text, err := os.ReadFile("/proc/thread-self/net/snmp6")
		if err != nil {
			return nil // the kernel has no IPv6
		}
		for line := range strings.Lines(string(text)) {
			if f := strings.Fields(line); len(f) == 2 {
				all[f[0]], _ = strconv.Atoi(f[1])
			}
		}
		return nil
	}))
	return all
}
