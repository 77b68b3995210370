package udp

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// holder names the program that keeps addr from being bound, as well as it can be found: other users' programs show
// themselves to root only.
func holder(addr netip.AddrPort) string {
	inodes := socketsOn(addr)
	for _, inode := range inodes {
		if inode == "0" {
			return "the kernel itself"
		}
	}
	if name := owner(inodes); name != "" {
		return name
	}
	return fmt.Sprintf("another program, which root finds with `ss -ulnp sport = :%d`", addr.Port())
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

// owner returns "charon (process 123)" for the first process that has one of the sockets open.
func owner(inodes []string) string {
	if len(inodes) == 0 {
		return ""
	}
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, link := range links {
		target, err := os.Readlink(link)
		if err != nil {
			continue
		}
		inode, found := strings.CutPrefix(target, "socket:[")
		if !found || !slices.Contains(inodes, strings.TrimSuffix(inode, "]")) {
			continue
		}
		process := filepath.Dir(filepath.Dir(link))
		name, err := os.ReadFile(process + "/comm")
		if err != nil {
			continue
		}
		return fmt.Sprintf("%q (process %s)", strings.TrimSpace(string(name)), filepath.Base(process))
	}
	return ""
}
