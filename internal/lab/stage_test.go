//go:build linux

package lab

import (
	"strings"
	"testing"
)

func TestStage(t *testing.T) {
	var order []string
	s := NewStage(t.Context())
	err := s.Run(func() error {
		s.Cleanup(func() { order = append(order, "first") })
		s.Cleanup(func() { order = append(order, "second") })
		if err := s.Try(func() { s.Fatalf("caught %d", 1) }); err == nil || err.Error() != "caught 1" {
			t.Errorf("Try returns %v", err)
		}
		s.Fatalf("the end")
		return nil
	})
	if err == nil || err.Error() != "the end" || strings.Join(order, " ") != "second first" {
		t.Errorf("%v, %v", err, order)
	}
}
