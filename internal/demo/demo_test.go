//go:build linux

package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/culvert-vpn/culvert/gateway"
)

func TestNarrator(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	var out bytes.Buffer
	n := &narrator{ctx: ctx, w: &out}
	wrong := errors.New("wrong")
	do := func(result string, err error) func() (string, error) {
		return func() (string, error) { return result, err }
	}
	if err := n.step("first", do("well", nil)); err != nil {
		t.Error(err)
	}
	if err := n.step("second", do("", nil)); err != nil {
		t.Error(err)
	}
	if err := n.step("third", do("ignored", fmt.Errorf("all is %w\nand more", wrong))); !errors.Is(err, wrong) {
		t.Error(err)
	}
	n.live = true
	if err := n.step("fourth", do("well", nil)); err != nil {
		t.Error(err)
	}
	n.live = false
	interrupt()
	if err := n.step("fifth", do("ignored", nil)); err == nil {
		t.Error("the story goes on after an interruption")
	}
	const want = `  ok    first: well
  ok    second
  FAILED third: all is wrong
        and more
  ...   fourth` + "\r\x1b[K" + `  ok    fourth: well
  cut   fifth
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

func TestLogTail(t *testing.T) {
	var l logTail
	for i := range 1000 {
		fmt.Fprintf(&l, "line %d\n", i)
	}
	text := l.String()
	if len(text) > logKept || !strings.HasPrefix(text, "line ") || !strings.HasSuffix(text, "line 999") {
		t.Errorf("%d bytes are kept: %.20q ... ", len(text), text)
	}
}

func TestAgree(t *testing.T) {
	a := tunnel{gateway.IKEStatus{SPIi: "1", SPIr: "2", Initiator: true}, gateway.ChildSAStatus{SPIIn: "3", SPIOut: "4"}}
	b := tunnel{gateway.IKEStatus{SPIi: "1", SPIr: "2"}, gateway.ChildSAStatus{SPIIn: "4", SPIOut: "3"}}
	if err := agree(a, b); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*tunnel){
		"another IKE SA":      func(t *tunnel) { t.ike.SPIr = "5" },
		"both called":         func(t *tunnel) { t.ike.Initiator = true },
		"another Child SA":    func(t *tunnel) { t.child.SPIIn = "6" },
		"one half of another": func(t *tunnel) { t.child.SPIOut = "4" },
	} {
		other := b
		change(&other)
		if agree(a, other) == nil {
			t.Errorf("%s is not noticed", name)
		}
	}
}
