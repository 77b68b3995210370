// Package vici is the wire format of strongSwan's Versatile IKE Control Interface: packets, and the messages in them.
//
// A client and a daemon exchange packets over a reliable stream, each in a segment: its length in four bytes, and then itself.
// A packet asks for a command or answers one, or it is about an event; most kinds carry a message, which is an ordered tree of
// values, lists and sections (Message). Everything on the wire is a string of bytes; numbers are decimal text.
//
// Nothing here touches a socket: bytes come in as arguments and go out as results.
package vici
