// Package lab makes networks out of Linux network namespaces: hosts, routers, cables, NAT boxes, and what runs on
// them: pings, transfers, processes. It needs root and nothing but the kernel.
//
// Nothing needs to be cleaned up after it. Namespaces have no name: they live as long as a descriptor or a process of
// the user's does. The kernel kills every process that is started on a host when the process that started it dies.
// To look into a network from outside: nsenter --net=/proc/PID/ns/net, with the PID of a process on the host.
package lab
