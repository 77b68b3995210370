package ike

import "testing"

// A peer that gives an SPI to a new child while the old one drains here means the new one.
func TestReusedSPI(t *testing.T) {
	drains, lives := &childSA{out: 0x1234, gone: true}, &childSA{out: 0x1234}
	sa := &ikeSA{children: []*childSA{drains, lives}}
	if sa.childWithOut(0x1234) != lives {
		t.Error("the child that drains is taken for the one that lives")
	}
	sa.children = sa.children[:1]
	if sa.childWithOut(0x1234) != drains {
		t.Error("a child that drains is not known any more")
	}
	if sa.childWithOut(0x4321) != nil {
		t.Error("an SPI that is not there is found")
	}
}
