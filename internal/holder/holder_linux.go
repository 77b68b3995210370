package holder

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Of returns the programs whose UDP sockets keep addr from being bound in the network namespace of the calling thread: none if it is
// free, and a Process without a name for a socket whose program cannot be seen.
func Of(addr netip.AddrPort) []Process {
	var found []Process
	inodes := socketsOn(addr)
	if slices.Contains(inodes, "0") {
		found = append(found, Process{Kernel: true})
	}
	found = append(found, owners(inodes)...)
	if len(inodes) > 0 && len(found) == 0 {
		found = append(found, Process{})
	}
	return found
}

// socketsOn returns the inodes of the UDP sockets whose address overlaps with addr. thread-self, because the network
// namespace is that of the thread.
func socketsOn(addr netip.AddrPort) []string {
	var inodes []string
	for _, table := range []string{"udp", "udp6"} {
		f, err := os.Open("/proc/thread-self/net/" + table)
		if err != nil {
			continue
		}
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			// sl local_address rem_address st queues tr:when retrnsmt uid timeout inode ...
			fields := strings.Fields(lines.Text())
			if len(fields) < 10 {
				continue
			}
			if a, ok := parseProcAddr(fields[1]); ok && overlap(a, addr) {
				inodes = append(inodes, fields[9])
			}
		}
		f.Close()
	}
	return inodes
}

func overlap(a, b netip.AddrPort) bool {
	if a.Port() != b.Port() {
		return false
	}
	if a.Addr() == netip.IPv6Unspecified() && b.Addr().Is4() {
		return true // a socket for both families
	}
	return a.Addr().Is4() == b.Addr().Is4() &&
		(a.Addr() == b.Addr().WithZone("") || a.Addr().IsUnspecified() || b.Addr().IsUnspecified())
}

var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// parseProcAddr reads "0100007F:01F4": 32-bit words printed in the byte order of the host, and a port.
func parseProcAddr(text string) (netip.AddrPort, bool) {
	host, port, ok := strings.Cut(text, ":")
	if !ok {
		return netip.AddrPort{}, false
	}
	raw, err := hex.DecodeString(host)
	if err != nil || len(raw)%4 != 0 {
		return netip.AddrPort{}, false
	}
	if littleEndian {
		for word := range slices.Chunk(raw, 4) {
			slices.Reverse(word)
		}
	}
	addr, ok := netip.AddrFromSlice(raw)
	p, err := strconv.ParseUint(port, 16, 16)
	return netip.AddrPortFrom(addr.Unmap(), uint16(p)), ok && err == nil
}

// owners are the processes that have one of the sockets open, each once.
func owners(inodes []string) (found []Process) {
	if len(inodes) == 0 {
		return nil
	}
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	last := ""
	for _, link := range links {
		process := filepath.Dir(filepath.Dir(link))
		if process == last {
			continue // it has another of the sockets too
		}
		target, err := os.Readlink(link)
		if err != nil {
			continue
		}
		inode, isSocket := strings.CutPrefix(target, "socket:[")
		if !isSocket || !slices.Contains(inodes, strings.TrimSuffix(inode, "]")) {
			continue
		}
		if p, ok := read(process); ok {
			found, last = append(found, p), process
		}
	}
	return found
}

// read reads of a process what its directory below /proc says.
func read(dir string) (p Process, ok bool) {
	name, err := os.ReadFile(dir + "/comm")
	if err != nil {
		return p, false // it has ended
	}
	p.Name = strings.TrimSpace(string(name))
	p.PID, err = strconv.Atoi(filepath.Base(dir))
	groups, _ := os.ReadFile(dir + "/cgroup")
	p.Unit = unitOf(string(groups))
	return p, err == nil
}

// unitOf finds the service in the control groups of a process, "0::/system.slice/strongswan.service" or one line per controller.
func unitOf(groups string) string {
	for line := range strings.Lines(groups) {
		_, group, _ := strings.Cut(strings.TrimSpace(line), ":")
		_, group, _ = strings.Cut(group, ":")
		for ; len(group) > 1; group = path.Dir(group) {
			if unit := path.Base(group); strings.HasSuffix(unit, ".service") && strings.HasPrefix(group, "/system.slice/") {
				return unit
			}
		}
	}
	return ""
}
