package psk

import (
	"testing"
)

// TestJoin: a joined store knows the secrets of all others, in their order, and what is wiped in one of these verifies nothing any more.
func TestJoin(t *testing.T) {
	file, loaded := store(t, "a sa @us @alice", "any s"), store(t, "b sb @us @bob", "c sc @alice")
	joined := Join(file, NewStore(), loaded)
	us, alice := id(t, "@us"), id(t, "@alice")
	if got := names(joined.Lookup(us, alice)); got != "a c any b" {
		t.Errorf("found %q", got)
	}
	if got := names(file.Lookup(us, alice)); got != "a any" {
		t.Errorf("the first store knows %q now", got)
	}
	prf, signed := sha256PRF(t), []byte("signed")
	b := loaded.Lookup(us, id(t, "@bob"))[0]
	auth := b.Auth(prf, signed)
	if found, ok := joined.Verify(us, id(t, "@bob"), prf, signed, auth); !ok || found.Name() != "b" {
		t.Errorf("verified by %q, %v", found.Name(), ok)
	}
	if _, ok := joined.Find(b, us, id(t, "@bob")); !ok {
		t.Error("the secret of the one store is not that of the other")
	}
	before := joined.Lookup(us, id(t, "@bob"))[0]
	loaded.Wipe()
	if _, ok := joined.Verify(us, id(t, "@bob"), prf, signed, auth); ok || before.Verify(prf, signed, auth) {
		t.Error("a wiped secret verifies")
	}
	if got := file.Lookup(us, alice)[0].Auth(prf, signed); got == nil {
		t.Error("a secret of the other store is gone")
	}
}
