package psk

import (
	"fmt"
	"io"
	"log/slog"
)

// redacted is embedded in every type that leads to a secret. Whatever prints, logs or marshals such a value gets
// the same word.
type redacted struct{}

const redaction = "[secret]"

// String returns "[secret]".
func (redacted) String() string { return redaction }

// GoString returns "[secret]".
func (redacted) GoString() string { return redaction }

// Format writes "[secret]" for every verb; without it %x and %d would print the fields.
func (redacted) Format(f fmt.State, _ rune) { io.WriteString(f, redaction) }

// LogValue is "[secret]".
func (redacted) LogValue() slog.Value { return slog.StringValue(redaction) }

// MarshalText returns "[secret]".
func (redacted) MarshalText() ([]byte, error) { return []byte(redaction), nil }

// MarshalJSON returns the JSON string "[secret]".
func (redacted) MarshalJSON() ([]byte, error) { return []byte(`"` + redaction + `"`), nil }
