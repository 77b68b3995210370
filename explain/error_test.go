package explain

import (
	"errors"
	"io/fs"
	"testing"
)

func TestError(t *testing.T) {
	err := error(&Error{Diagnosis: &Diagnosis{Cause: PortInUse, Text: "it is taken", Fixes: []Fix{{Text: "take another"}, {Side: Peer, Text: "wait"}}}, Err: fs.ErrExist})
	if got := err.Error(); got != "it is taken; take another; or on the peer: wait" {
		t.Error(got)
	}
	var e *Error
	if !errors.As(err, &e) || e.Diagnosis.Cause != PortInUse || !errors.Is(err, fs.ErrExist) {
		t.Errorf("%#v", err)
	}
	if got := (&Error{Diagnosis: &Diagnosis{Text: "nothing helps"}}).Error(); got != "nothing helps" {
		t.Error(got)
	}
}
