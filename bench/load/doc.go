// Package load makes traffic and measures what arrives: TCP streams, floods of datagrams, echoes. It is made to cost little,
// because on a small machine it takes its time from the tunnels it measures: few and big system calls, no allocation, a thread
// per direction. The sockets are opened where the ends are, in network namespaces say; the rest runs anywhere.
package load
