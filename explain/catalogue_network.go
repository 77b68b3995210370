package explain

// networkCauses are the entries of the causes that lie in the network between the two and in the hosts.
var networkCauses = []Entry{
	{
		Cause: SilentPeer,
		Title: "The peer does not answer at all",
		Meaning: "The first message of IKE was sent several times, to UDP port 500 and to port 4500, and nothing came back: no answer, and no ICMP message that " +
			"would say why. Either nothing arrives at the peer, or its answers get lost, or nobody is there. A packet that a firewall or a NAT drops " +
			"leaves no trace, so this side cannot know which of these it is; the other side can: if its log shows our call, the answers get lost.",
		Symptoms: []string{"no answer from 203.0.113.1:500", "strongSwan: giving up after 5 retransmits, peer not responding", "Cisco: Maximum number of retransmissions reached",
			"Libreswan: STATE_V2_PARENT_I1: 60 second timeout exceeded"},
		Fixes: []Fix{
			{Side: Peer, Text: "see that the gateway runs, that its log shows our call, and that remote_addrs here is the address it is reached by"},
			{Side: Between, Text: "let UDP ports 500 and 4500 pass in both directions: every firewall, the security groups of the cloud, and if the peer is behind a NAT, a rule there that forwards both"},
			{Side: Peer, Text: "if nothing can be forwarded to the peer, let it call: start_action = start on its side, which needs no port to be open there"},
		},
	},
	{
		Cause: Silent4500,
		Title: "The peer answers at UDP port 500, and not at 4500",
		Meaning: "IKE begins at port 500 and goes on at port 4500, where ESP travels inside of UDP, too. The peer answered the first message, and nothing that was sent to " +
			"port 4500 afterwards: neither IKE_AUTH nor a small message. Something on the way lets port 500 pass only, or the peer listens there only.",
		Symptoms: []string{"no answer to IKE_AUTH", "strongSwan: IKE_AUTH is retransmitted although IKE_SA_INIT was answered", "the IKE SA stays in CONNECTING"},
		Fixes: []Fix{
			{Side: Between, Text: "let UDP port 4500 pass as port 500 does: firewalls, security groups, and the forwarding rules of a NAT in front of the peer"},
			{Side: Peer, Text: "enable NAT traversal, and see that the gateway listens at UDP port 4500"},
		},
	},
	{
		Cause: Silent500,
		Title: "The peer answers at UDP port 4500, and not at 500",
		Meaning: "Nothing that was sent to port 500 was answered, but the same call to port 4500 was. Something on the way does not let port 500 pass: some providers block it, " +
			"and some NAT rules forward one port only. RFC 7296 (2.23) allows to begin at port 4500, so Culvert went on there, and the tunnel works; each call " +
			"takes some seconds longer than it would have to.",
		Symptoms: []string{"no answer at port 500", "the tunnel takes ten seconds to come up"},
		Fixes: []Fix{
			{Side: Here, Text: "call at port 4500 at once: remote_port = 4500"},
			{Side: Between, Text: "let UDP port 500 pass as well"},
		},
	},
	{
		Cause: Unreachable,
		Title: "The network says that the peer cannot be reached",
		Meaning: "An ICMP message came back: the host or its network cannot be reached, nobody listens at the port, or a firewall refuses the packets. It says who sent it. " +
			"Anybody can forge such a message, so that it ends nothing: Culvert keeps trying, and tells of it when nothing else came.",
		Symptoms: []string{"Connection refused", "No route to host", "Destination unreachable (Port unreachable)", "Communication administratively prohibited"},
		Fixes: []Fix{
			{Side: Peer, Text: "port unreachable: start the gateway; the host is there, and no program listens at the port"},
			{Side: Between, Text: "administratively prohibited: allow UDP ports 500 and 4500 at the firewall that sent it"},
			{Side: Here, Text: "host or network unreachable: correct remote_addrs, or the routes"},
		},
	},
	{
		Cause: OtherAddress,
		Title: "The answer came from another address than was called",
		Meaning: "The peer answered our call from an address that was not called. It has several, or a NAT in front of it translates one way only. RFC 7296 (2.11) wants answers " +
			"to come from where the request went: firewalls and NATs on our side may drop what comes from elsewhere. Culvert goes on with the address that is configured; it follows to " +
			"another one only when the peer is authenticated.",
		Symptoms: []string{"packets of the peer come from an address that no connection names", "IKE_SA_INIT works and IKE_AUTH does not"},
		Fixes: []Fix{
			{Side: Here, Text: "set remote_addrs to the address that answers"},
			{Side: Peer, Text: "bind the connection to the address that is called: local_addrs; or have the NAT translate both ways alike"},
		},
	},
	{
		Cause: PortInUse,
		Title: "Another program has UDP port 500 or 4500",
		Meaning: "One program of a host can have these ports, and another IKE daemon, or another Culvert, got them first. Many systems start strongSwan or Libreswan by themselves " +
			"when the package is installed.",
		Symptoms: []string{"address already in use", "strongSwan: unable to bind socket: Address already in use", "Libreswan: bind() for 0.0.0.0:500 failed"},
		Fixes: []Fix{
			{Side: Here, Text: "stop the other program for good: strongSwan", Lines: []string{"# systemctl disable --now strongswan-starter strongswan"}},
			{Side: Here, Text: "Libreswan", Lines: []string{"# systemctl disable --now ipsec"}},
			{Side: Here, Text: "to see which one it is", Lines: []string{"# ss -ulnp 'sport = :500 or sport = :4500'"}},
		},
	},
	{
		Cause: BothWait,
		Title: "Both sides wait for the other to start",
		Meaning: "A connection comes up when one side calls the other. This one does not, as no child of it has a start_action, and the peer has not called either. Traffic for the " +
			"tunnel is refused meanwhile.",
		Symptoms: []string{"nothing happens, and no log says anything", "packets are dropped for want of an SA (no-sa)"},
		Fixes: []Fix{
			{Side: Here, Text: "start_action = start on the side that is behind a NAT, because nothing has to be forwarded to it then; or trap, to call when there is traffic"},
			{Side: Peer, Text: "the same on the other side; both may do so"},
		},
	},
	{
		Cause: NotForwarded,
		Title: "A NAT in front of this side forwards nothing to it",
		Meaning: "This side waits to be called, it has a private address, so that a NAT stands between it and the peer, and not a single message of IKE has arrived since the " +
			"daemon was started. A NAT passes on what comes from outside only if a rule says so. It may also be that nobody has called yet: packets that a NAT drops are " +
			"seen by nobody behind it.",
		Symptoms: []string{"the peer gets no answer", "no packet arrives at UDP ports 500 and 4500", "strongSwan on the other side: peer not responding"},
		Fixes: []Fix{
			{Side: Between, Text: "forward UDP ports 500 and 4500 to this host at the NAT, and allow them in the security group or firewall"},
			{Side: Here, Text: "or call the peer from here, which needs no forwarding: remote_addrs and start_action = start"},
		},
	},
	{
		Cause: MTUBlackHole,
		Title: "Long packets vanish on the way",
		Meaning: "Small messages get through and are answered, long ones are not. A link on the way takes smaller packets than the ones at its ends, and what is cut into IP fragments for " +
			"it is lost: many firewalls and NATs drop fragments. IKE_AUTH with many proposals, selectors or certificates is the first long message there is; " +
			"ESP follows.",
		Symptoms: []string{"ping works and transfers hang", "IKE_SA_INIT is answered and IKE_AUTH is not", "ssh connects and stops after the login"},
		Fixes: []Fix{
			{Side: Here, Text: "fragmentation = yes on both sides: IKE cuts its messages itself (RFC 7383)"},
			{Side: Here, Text: "tell the kernel the real MTU of the way", Lines: []string{"# ip route replace 203.0.113.1 via 192.0.2.254 mtu 1400"}},
			{Side: Between, Text: "let IP fragments pass, and ICMP of type 3 code 4 (packet too big)"},
		},
	},
	{
		Cause: RestartLoop,
		Title: "The tunnel comes up and goes again and again",
		Meaning: "IKE SAs of the same peer are set up one after the other, and none of them lives long. What ends them says why: the peer deletes each one, which its log explains; or " +
			"each one replaces the one before, since the same identity calls from two places, or from one that forgot the tunnel before.",
		Symptoms: []string{"established and closed every few seconds", "strongSwan: deleting duplicate IKE_SA due to uniqueness policy", "Cisco: received initial contact"},
		Fixes: []Fix{
			{Side: Peer, Text: "see in its log why it closes the tunnel"},
			{Side: Peer, Text: "give every gateway an identity of its own"},
			{Side: Here, Text: "if several peers are to have the same identity: unique = never"},
		},
	},
	{
		Cause: ClockJumps,
		Title: "The clock of this host is wrong, or was set",
		Meaning: "The calendar of the host says a time before this program was built, or has jumped. Tunnels do not depend on it: IKE lives by a clock that nobody sets. But the times in the " +
			"log and in the status are wrong, what happened before and after the jump cannot be compared with the peer's log, and how long inner addresses were unused is misjudged.",
		Symptoms: []string{"log entries of 1970", "the log goes back in time"},
		Fixes: []Fix{
			{Side: Here, Text: "have the time kept by NTP", Lines: []string{"# timedatectl set-ntp true"}},
		},
	},
	{
		Cause: OverlappingNets,
		Title: "The same network is in two places",
		Meaning: "An address can be in one place only. If the network of the peer is also one of this host's interfaces, a container network such as 172.17.0.0/16 say, or that of both " +
			"sites, as 192.168.1.0/24 often is, or that of another connection, packets go to the one and never to the other.",
		Symptoms: []string{"the tunnel is up and nothing answers", "some hosts of the other site are reached and others are not", "Docker networks 172.17.0.0/16 at both ends"},
		Fixes: []Fix{
			{Side: Here, Text: "narrow remote_ts to what is only at the peer's"},
			{Side: Here, Text: "give the interface another network; Docker: \"bip\" and \"default-address-pools\" in /etc/docker/daemon.json"},
			{Side: Peer, Text: "renumber one of the two sites"},
		},
	},
	{
		Cause:    NameNotResolved,
		Title:    "The name of the peer has no address",
		Meaning:  "remote_addrs is a name, and the DNS has no address for it, or did not answer. Names are looked up outside of the tunnel.",
		Symptoms: []string{"no such host", "server misbehaving", "strongSwan: unable to resolve, initiate aborted"},
		Fixes: []Fix{
			{Side: Here, Text: "correct the name in remote_addrs, or write the address"},
			{Side: Here, Text: "see that this host can ask its name server without the tunnel", Lines: []string{"# resolvectl query vpn.example.com"}},
		},
	},
	{
		Cause: NoRoute,
		Title: "This host has no way to the peer",
		Meaning: "The kernel has no route to the address of the peer, no address to send from, or only one that local_addrs does not allow. Nothing was sent. As soon as addresses or " +
			"routes change it is tried again.",
		Symptoms: []string{"network is unreachable", "this host has no route to 203.0.113.1"},
		Fixes: []Fix{
			{Side: Here, Text: "give the host a route: a default route usually", Lines: []string{"# ip route add default via 192.0.2.254"}},
			{Side: Here, Text: "leave local_addrs out, or write an address that this host has"},
		},
	},
	{
		Cause: NoEncapsulation,
		Title: "The peer does not put ESP into UDP",
		Meaning: "Culvert carries ESP inside of UDP only, because bare ESP does not survive a NAT. The peer does not know NAT traversal: its first message has no NAT detection (RFC 7296 2.23); " +
			"or it says that it allows no NAT (RFC 4555).",
		Symptoms: []string{"the peer sent no NAT detection", "UNEXPECTED_NAT_DETECTED"},
		Fixes: []Fix{
			{Side: Peer, Text: "enable NAT traversal: FortiGate `set nattraversal enable`, Cisco `crypto ipsec nat-transparency udp-encapsulation`, Libreswan `encapsulation=yes`"},
		},
	},
	{
		Cause: IKEv1Only,
		Title: "The peer speaks IKEv1",
		Meaning: "Culvert speaks IKEv2 only. The peer answered in version 1, said that it knows no version 2, or called with IKEv1 (Main Mode or Aggressive Mode). IKEv1 is obsolete since 2023 " +
			"(RFC 9395), and every gateway that is still maintained speaks IKEv2.",
		Symptoms: []string{"INVALID_MAJOR_VERSION", "ISAKMP Main Mode", "Phase 1 negotiation"},
		Fixes: []Fix{
			{Side: Peer, Text: "strongSwan: version = 2 (ipsec.conf: keyexchange=ikev2)"},
			{Side: Peer, Text: "FortiGate: set ike-version 2; Cisco: an IKEv2 profile; MikroTik: exchange-mode=ike2; Libreswan: ikev2=yes; pfSense: key exchange version IKEv2"},
		},
	},
}
