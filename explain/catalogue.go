package explain

// catalogue has an entry for every cause; a test sees to it.
var catalogue = []Entry{
	{
		Cause: UnknownIdentity,
		Title: "The peer gave an identity that no connection expects",
		Meaning: "Each side says who it is, and the other looks for a connection with that identity. Behind a NAT the identity that most daemons send " +
			"by default is the private address of their interface, which the other side does not know.",
		Symptoms: []string{"strongSwan: no matching peer config found", "Cisco: IKEv2 profile not found"},
		Fixes: []Fix{
			{Side: Here, Text: "set remote.id of the connection to what the peer sends"},
			{Side: Peer, Text: "give the peer an identity that does not depend on addresses, as @name, and expect that here"},
		},
	},
}
