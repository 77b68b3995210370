package gateway

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// fieldsOf are the fields of a struct as JSON has them, each with its type, and those of the structs in it.
func fieldsOf(t reflect.Type, prefix string, into map[string]string) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" {
			fieldsOf(f.Type, prefix, into)
			continue
		}
		if name == "" || name == "-" {
			name = f.Name
		}
		kind, inner, list := f.Type, f.Type, ""
		if kind.Kind() == reflect.Slice {
			inner, list = kind.Elem(), "[]"
		}
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		path := prefix + name + list
		switch {
		case inner == reflect.TypeFor[time.Time]():
			into[path] = "time"
		case inner.Kind() == reflect.Struct:
			into[path] = "object"
			fieldsOf(inner, path+".", into)
		case inner.Kind() == reflect.Map:
			into[path] = "object of numbers"
		case inner.Kind() == reflect.String:
			into[path] = "string"
		case inner.Kind() == reflect.Bool:
			into[path] = "boolean"
		default:
			into[path] = "number"
		}
	}
}

var fieldRow = regexp.MustCompile("(?m)^\\| `([^`]+)` \\| ([a-z ]+) \\| (.+) \\|$")

// TestStatusDocument: docs/status.md says of every field of the JSON what it means, and of no other.
func TestStatusDocument(t *testing.T) {
	fields := make(map[string]string)
	fieldsOf(reflect.TypeFor[Status](), "", fields)
	// An IKE SA of a stranger has the same fields as one of a connection; so has a failure.
	for path := range fields {
		for _, same := range []string{"strangers[].", "refused[].", "warnings[].", "connections[].warnings[]."} {
			if strings.HasPrefix(path, same) {
				delete(fields, path)
			}
		}
	}
	compareFields(t, "status.md", fields)
}

// TestTraceDocument: docs/observing.md does so for the JSON of a trace.
func TestTraceDocument(t *testing.T) {
	fields := make(map[string]string)
	fieldsOf(reflect.TypeFor[TraceMessage](), "", fields)
	compareFields(t, "observing.md", fields)
}

// compareFields compares the fields that a page tells of with those that there are.
func compareFields(t *testing.T, name string, fields map[string]string) {
	t.Helper()
	page, err := os.ReadFile(filepath.Join("..", "docs", name))
	if err != nil {
		t.Fatal(err)
	}
	told := make(map[string]bool)
	for _, row := range fieldRow.FindAllStringSubmatch(string(page), -1) {
		path, kind := row[1], row[2]
		switch want, ok := fields[path]; {
		case !ok:
			t.Errorf("there is no field %s", path)
		case told[path]:
			t.Errorf("%s is there twice", path)
		case kind != want:
			t.Errorf("%s is a %s, not a %s", path, want, kind)
		}
		told[path] = true
	}
	var missing []string
	for path, kind := range fields {
		if !told[path] {
			missing = append(missing, "| `"+path+"` | "+kind+" |  |")
		}
	}
	slices.Sort(missing)
	if len(missing) > 0 {
		t.Errorf("missing:\n%s", strings.Join(missing, "\n"))
	}
}
