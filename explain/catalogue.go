package explain

// peerCauses are the entries of the causes that what a peer sends proves. Symptoms of other daemons are in their own words.
var peerCauses = []Entry{
	{
		Cause: UnknownIdentity,
		Title: "The peer gave an identity that no connection expects",
		Meaning: "In IKE_AUTH each side says who it is, and the other looks for a connection with that identity. Without one of its own a gateway presents the address of its interface; " +
			"behind a NAT that is a private address, which the other side does not know. The two must be the same to the letter, and of the same type: 203.0.113.1 is an address, " +
			"@203.0.113.1 a name; a dot at the end counts; upper and lower case count in key ids. A peer may also say whom it wants to talk to, and that must be us.",
		Symptoms: []string{
			"no connection for a peer that says it is", "the peer says it is @foo, the configuration expects @bar",
			"strongSwan: no matching peer config found", "strongSwan: constraint check failed: identity '@foo' required",
			"Libreswan: Peer ID '192.0.2.10' mismatched on first found connection and no better connection found", "Cisco IOS: Failed to locate an item in the database",
		},
		Fixes: []Fix{
			{Side: Here, Text: "write into remote.id what the peer presents", Lines: Lines([]string{"id = 172.16.0.1"}, "connections", "office", "remote")},
			{Side: Peer, Text: "give the peer an identity that does not depend on addresses, and expect that here", Lines: Lines([]string{"id = @branch"}, "connections", "office", "local")},
			{Side: Here, Text: "if it is we whom the peer calls by another name: local.id", Lines: Lines([]string{"id = @office"}, "connections", "office", "local")},
		},
	},
	{
		Cause: NoSecret,
		Title: "The identities are known, and no secret belongs to them",
		Meaning: "A pre-shared secret has owners, the identities that its ids name. A secret is used between two identities if one of its owners is either of them, or if it has no owners. None is. " +
			"Most often the owner was written as an address, and the peer presents a name, or the private address that it has behind a NAT.",
		Symptoms: []string{
			"no secret for us as @foo and the peer as @bar", "no secret belongs to", "strongSwan: no shared key found for '@foo' - '@bar'",
		},
		Fixes: []Fix{
			{Side: Here, Text: "give the secret the identity that the peer presents", Lines: Lines([]string{"id-2 = @branch"}, "secrets", "ike-office")},
			{Side: Here, Text: "add a secret for this peer", Lines: Lines([]string{"id = @branch", `secret = "<what the other side has>"`}, "secrets", "ike-branch")},
		},
	},
	{
		Cause: WrongSecret,
		Title: "The two sides have different secrets",
		Meaning: "The peer's AUTH was made with another secret than any that belongs to it here. Culvert tries what commonly happens to a secret between two files, and says so if one of that " +
			"verifies: white space or a newline at an end, quotes that became part of it, hex or base64 read as text or the other way round, another encoding, quotes and dashes of a word processor, " +
			"Caps Lock, a device that cuts long secrets off, the secret of another peer. It never prints a secret.",
		Symptoms: []string{
			"has another secret than we have for it", "differs from ours only in spelling", "strongSwan: tried 1 shared key for '@foo' - '@bar', but MAC mismatched",
			"Libreswan: authentication failed: computed hash does not match hash received from peer", "Cisco IOS: Verification of peer's authentication data FAILED",
			"FortiGate: PSK auth failed: probable pre-shared key mismatch",
		},
		Fixes: []Fix{
			{Side: Peer, Text: "write the secret as it is written here, in a form that cannot be misread", Lines: []string{"# openssl rand -base64 32"}},
			{Side: Here, Text: "write it after 0s (base64) or 0x (hex) on both sides, without quotes", Lines: Lines([]string{"secret = 0s<the base64 text>"}, "secrets", "ike-office")},
		},
	},
	{
		Cause: NoProposal,
		Title: "The two sides have no algorithms in common",
		Meaning: "The caller offers proposals, the called side takes the first of its own that meets one of them: one cipher, one integrity algorithm unless the cipher has its own, one pseudo-random function and one " +
			"key exchange group have to be in both lists. There are two lists, one for the IKE SA (proposals) and one for each child (esp_proposals). The group in esp_proposals (perfect forward " +
			"secrecy) is not negotiated for the first Child SA, so that a difference there shows only when it is rekeyed, an hour later. Many daemons answer NO_PROPOSAL_CHOSEN also when they have no connection for the address of the caller.",
		Symptoms: []string{
			"no common proposal for the IKE SA", "no common proposal for child", "the peer refuses: NO_PROPOSAL_CHOSEN", "NO_PROPOSAL_CHOSEN", "rekeying fails after an hour, the first keys worked",
			"strongSwan: received proposals unacceptable", "strongSwan: no acceptable proposal found", "strongSwan: no acceptable ENCRYPTION_ALGORITHM found", "strongSwan: received NO_PROPOSAL_CHOSEN notify error",
			"Libreswan: no local proposal matches remote proposals", "Cisco ASA: Failed to find a matching policy", "FortiGate: peer SA proposal not match local policy",
			"FortiGate: no suitable proposal found", "Windows: Policy match error (13868)",
		},
		Fixes: []Fix{
			{Side: Here, Text: "add what the peer has to the list", Lines: Lines([]string{"proposals = aes256-sha256-modp2048, default"}, "connections", "office")},
			{Side: Here, Text: "likewise for a child; with a group if the peer wants perfect forward secrecy", Lines: Lines([]string{"esp_proposals = aes256-sha256-modp2048, default"}, "connections", "office", "children", "net")},
			{Side: Peer, Text: "offer what is configured here: `culvert check` prints it"},
		},
	},
	{
		Cause: SelectorsDiffer,
		Title: "The traffic selectors of the two sides do not meet",
		Meaning: "A child carries packets from local_ts to remote_ts, and the peer must have the same the other way round: what is local here is remote there. The called side may take a part of what is asked for, " +
			"but something must be left in both directions. A peer without local_ts asks for its own address alone.",
		Symptoms: []string{
			"no child fits the peer's traffic selectors", "the peer refuses: TS_UNACCEPTABLE", "TS_UNACCEPTABLE", "strongSwan: traffic selectors 10.1.0.0/24 === 10.2.0.0/24 unacceptable",
			"strongSwan: no acceptable traffic selectors found", "strongSwan: received TS_UNACCEPTABLE notify, no CHILD_SA built", "strongSwan: failed to establish CHILD_SA, keeping IKE_SA",
			"Libreswan: No IKEv2 connection found with compatible Traffic Selectors", "Cisco ASA: There was no IPSEC policy found for received TS",
		},
		Fixes: []Fix{
			{Side: Here, Text: "write the peer's networks into remote_ts, and ours into local_ts as the peer has them", Lines: Lines([]string{"local_ts = 10.103.0.0/24", "remote_ts = 10.104.0.0/24"}, "connections", "office", "children", "net")},
			{Side: Peer, Text: "the same with the two exchanged", Lines: Lines([]string{"local_ts = 10.104.0.0/24", "remote_ts = 10.103.0.0/24"}, "connections", "office", "children", "net")},
		},
	},
	{
		Cause: PeerRefusesUs,
		Title: "The peer does not authenticate us, and does not say why",
		Meaning: "The answer is AUTHENTICATION_FAILED, which means any of three: the peer has no connection for our identity, or is not who we want to talk to, or has another secret. It says no more on purpose, because that would help " +
			"an attacker; its log says which. If this gateway is behind a NAT and has no local.id, its identity is its private address, and that is the most likely reason.",
		Symptoms: []string{
			"the peer refuses: AUTHENTICATION_FAILED", "the peer does not accept our AUTH", "AUTHENTICATION_FAILED", "strongSwan: received AUTHENTICATION_FAILED notify error",
			"Libreswan: IKE SA authentication request rejected by peer: AUTHENTICATION_FAILED", "Windows: IKE authentication credentials are unacceptable (13801)",
		},
		Fixes: []Fix{
			{Side: Here, Text: "set an identity that does not depend on addresses, and the same as remote.id on the peer", Lines: Lines([]string{"id = @branch"}, "connections", "office", "local")},
			{Side: Peer, Text: "read its log: no matching peer config found is about identities, MAC mismatched about the secret, no shared key found about the owners of the secret"},
			{Side: Peer, Text: "have it call, if it can: then Culvert sees its identity and its AUTH, and says what differs"},
		},
	},
	{
		Cause:   OtherMethod,
		Title:   "The peer proves itself in another way than by a secret",
		Meaning: "Culvert authenticates by pre-shared secrets. The peer sent no AUTH, which is how a client asks for EAP (a user name and a password, as phones and Windows do by default), or one that was made with a certificate.",
		Symptoms: []string{
			"it wants to authenticate by EAP", "the peer authenticates by RSA digital signature", "strongSwan: peer requested EAP, config unacceptable",
		},
		Fixes: []Fix{
			{Side: Peer, Text: "authenticate by a pre-shared secret", Lines: Lines([]string{"auth = psk"}, "connections", "office", "local")},
		},
	},
	{
		Cause: NoConnection,
		Title: "No connection is configured for this pair of addresses",
		Meaning: "The first message is looked at by its addresses alone: it must come from within remote_addrs and to local_addrs of some connection. The peer comes from another address than is configured, for example because a NAT stands in " +
			"front of it whose address is the one that arrives; or local_addrs names an address that this host does not have, as the public one of a NAT in front of it.",
		Symptoms: []string{
			"no connection is configured for this pair of addresses", "strongSwan: no IKE config found for 203.0.113.1...192.0.2.10, sending NO_PROPOSAL_CHOSEN",
			"Libreswan: message received on 203.0.113.1:500 but no connection has been authorized with policy", "Libreswan: no suitable connection found with IKEv2 policy", "FortiGate: ignoring IKE request, no policy configured", "Palo Alto: Couldn't find configuration for IKE phase-1 request for peer IP",
		},
		Fixes: []Fix{
			{Side: Here, Text: "set remote_addrs to the address that the peer is seen at", Lines: Lines([]string{"remote_addrs = 192.0.2.10"}, "connections", "office")},
			{Side: Here, Text: "leave the address open, if it changes; then only the peer can call", Lines: Lines([]string{"remote_addrs = %any"}, "connections", "office")},
			{Side: Here, Text: "leave local_addrs out", Lines: Lines([]string{"local_addrs = %any"}, "connections", "office")},
		},
	},
	{
		Cause: ConnectedAlready,
		Title: "The same identity is connected already",
		Meaning: "unique = keep leaves a tunnel in place when its peer's identity calls again from another address. Either two peers share an identity, or the peer restarted and its old tunnel is still thought to live: " +
			"then Culvert asks the old one for a sign of life, and the peer gets in when none comes.",
		Symptoms: []string{"the peer is connected already, and unique = keep", "strongSwan: canceling IKE_SA setup due to uniqueness policy"},
		Fixes: []Fix{
			{Side: Here, Text: "let the later one stay", Lines: Lines([]string{"unique = replace"}, "connections", "office")},
			{Side: Peer, Text: "give every peer an identity of its own"},
		},
	},
	{
		Cause:   ChildlessDiffers,
		Title:   "One side wants a child in IKE_AUTH, and the other does not",
		Meaning: "An IKE SA may be set up without a Child SA, and its children afterwards (RFC 6023). One side has childless = force, and the other does not know that, or has childless = never.",
		Symptoms: []string{
			"the peer does not take an IKE SA without a child", "the peer wants an IKE SA without a child, which was not announced to it", "the peer wants a child in IKE_AUTH, and childless = force",
			"strongSwan: peer does not support childless IKE_SA initiation", "strongSwan: peer tried to initiate a childless IKE_SA", "strongSwan: peer did not initiate a childless IKE_SA",
		},
		Fixes: []Fix{
			{Side: Here, Text: "take both", Lines: Lines([]string{"childless = allow"}, "connections", "office")},
			{Side: Peer, Text: "the same there", Lines: Lines([]string{"childless = allow"}, "connections", "office")},
		},
	},
	{
		Cause:    NATForbidden,
		Title:    "The peer allows no NAT, and there is one",
		Meaning:  "The peer asked for an IKE SA whose addresses are not translated (NO_NATS_ALLOWED, RFC 4555 3.9), and they are. Culvert needs no such promise from the network, and can be told of none.",
		Symptoms: []string{"the peer allows no NAT, and there is one between us", "UNEXPECTED_NAT_DETECTED"},
		Fixes:    []Fix{{Side: Peer, Text: "allow NAT traversal"}, {Side: Between, Text: "give this gateway, and the peer, addresses that are not translated"}},
	},
	{
		Cause: NoInnerAddress,
		Title: "No inner address was given",
		Meaning: "A road warrior asks its gateway for an address on the inner network (vips here, a virtual address elsewhere), which the gateway takes from the pools of the connection. There are no pools, or none of the " +
			"family, or none with an address left; or one side asks and the other does not give, or the other way round.",
		Symptoms: []string{
			"the peer wants an address, and the connection has no pools", "no address is left for", "the peer assigns no address", "the peer did not ask for an address", "INTERNAL_ADDRESS_FAILURE", "FAILED_CP_REQUIRED",
			"strongSwan: no virtual IP found, sending INTERNAL_ADDRESS_FAILURE", "strongSwan: expected a virtual IP request, sending FAILED_CP_REQUIRED", "strongSwan: no virtual IP found for %any requested by '@foo'",
		},
		Fixes: []Fix{
			{Side: Here, Text: "give the connection a pool that is large enough", Lines: append(Lines([]string{"pools = clients"}, "connections", "road"), Lines([]string{"addrs = 10.99.0.0/24"}, "pools", "clients")...)},
			{Side: Here, Text: "as the one who asks: vips = 0.0.0.0 to ask, nothing to do without", Lines: Lines([]string{"vips = 0.0.0.0"}, "connections", "road")},
		},
	},
	{
		Cause: PeerRefusesChild,
		Title: "The peer refuses a child",
		Meaning: "The IKE SA is up, and the peer answered the request for a child with an error that names no algorithm and no traffic: it allows no further child, or wants one for each pair of addresses, or " +
			"has reasons that only its log tells.",
		Symptoms: []string{"the peer refuses: NO_ADDITIONAL_SAS", "the peer refuses: SINGLE_PAIR_REQUIRED", "NO_ADDITIONAL_SAS", "SINGLE_PAIR_REQUIRED"},
		Fixes: []Fix{
			{Side: Here, Text: "put the selectors of all children into one child", Lines: Lines([]string{"local_ts = 10.103.0.0/24, 10.103.1.0/24", "remote_ts = 10.104.0.0/24"}, "connections", "office", "children", "net")},
			{Side: Peer, Text: "read its log"},
		},
	},
	{
		Cause: MalformedMessages,
		Title: "A message is not as the standard has it",
		Meaning: "What came was authentic, and cannot be understood: a payload is missing, or one comes twice, or has a length that cannot be. Or the peer says so of a message of ours. One of the two programs is wrong. " +
			"With a wrong secret some peers say INVALID_SYNTAX, too.",
		Symptoms: []string{
			"malformed IKE_AUTH", "malformed request", "malformed answer", "the peer could not read our request", "INVALID_SYNTAX", "strongSwan: message parsing failed", "strongSwan: could not decrypt payloads",
			"strongSwan: message verification failed",
		},
		Fixes: []Fix{
			{Side: Peer, Text: "update its software"},
			{Side: Here, Text: "compare the secret first, if it is INVALID_SYNTAX in the answer to IKE_AUTH"},
			{Side: Here, Text: "report it with the messages", Lines: []string{"# culvert trace office"}},
		},
	},
}
