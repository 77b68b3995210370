package ike

import (
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/culvert-vpn/culvert/suite"
)

// TestEveryFieldIsCompared changes each field of a connection and of a child: a reload must not miss one.
func TestEveryFieldIsCompared(t *testing.T) {
	eachField(reflect.TypeFor[Connection](), nil, func(path []int, name string) {
		if name == "Name" || name == "Children" {
			return
		}
		var a, b Connection
		change(t, reflect.ValueOf(&b).Elem().FieldByIndex(path))
		if len(a.Differences(&b)) == 0 {
			t.Errorf("a change of Connection.%s is not noticed: it needs a row in connectionFacets", name)
		}
	})
	eachField(reflect.TypeFor[Child](), nil, func(path []int, name string) {
		if name == "Name" {
			return
		}
		var a, b Child
		change(t, reflect.ValueOf(&b).Elem().FieldByIndex(path))
		if len(a.Differences(&b)) == 0 {
			t.Errorf("a change of Child.%s is not noticed: it needs a row in childFacets", name)
		}
	})
}

// eachField calls f for the fields of a struct, and instead of one that is a struct with exported fields, for those.
func eachField(in reflect.Type, path []int, f func(path []int, name string)) {
	for i := range in.NumField() {
		field := in.Field(i)
		at := append(path[:len(path):len(path)], i)
		if field.Type.Kind() == reflect.Struct && field.Type.NumField() > 0 && field.Type.Field(0).IsExported() {
			eachField(field.Type, at, func(path []int, name string) { f(path, field.Name+"."+name) })
			continue
		}
		f(at, field.Name)
	}
}

// change gives a field some value that is not zero.
func change(t *testing.T, v reflect.Value) {
	t.Helper()
	switch x := v.Addr().Interface().(type) {
	case *[]netip.Prefix:
		*x = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Float64:
		v.SetFloat(1)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
	case reflect.Int, reflect.Int64:
		v.SetInt(1)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(1)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
	case reflect.Struct:
		switch v.Addr().Interface().(type) {
		case interface{ IsZero() bool }:
			v.Set(reflect.ValueOf(testID("@x")))
		default:
			v.Set(reflect.ValueOf(testPattern("@x")))
		}
	default:
		t.Fatalf("no other value for a %v is known here", v.Type())
	}
}

// TestDifferencesByMeaning: what means the same is the same.
func TestDifferencesByMeaning(t *testing.T) {
	a := Connection{LocalAddrs: nil, Proposals: testProposal(suite.IKE, testIKE), LocalID: testID("@us")}
	b := Connection{LocalAddrs: []netip.Prefix{}, Proposals: testProposal(suite.IKE, testIKE), LocalID: testID("fqdn:us")}
	if list := a.Differences(&b); len(list) > 0 {
		t.Errorf("%v", list)
	}
	b.RemoteAddrs, b.RemoteHost = []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")}, "192.0.2.1"
	if list := a.Differences(&b); fmt.Sprint(list) != "[{remote_addrs set up anew}]" {
		t.Errorf("a key is named twice, or not: %v", list)
	}
}

// TestReloadTable: what the manual promises of each key is what happens.
func TestReloadTable(t *testing.T) {
	manual, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	words := map[Impact]string{
		InPlace: "In effect at once", RekeyChild: "The Child SA is rekeyed", ReplaceChild: "A new Child SA is negotiated",
		RekeyIKE: "The IKE SA is rekeyed", Reauthenticate: "A new IKE SA is set up",
	}
	for impact, text := range words {
		row := fmt.Sprintf("| %s | %s | %s |\n", text, keysOf(connectionFacets, impact), keysOf(childFacets, impact))
		if !strings.Contains(string(manual), row) {
			t.Errorf("docs/configuration.md does not say\n%s", row)
		}
	}
}

// keysOf lists the keys whose change has an impact, as the manual does.
func keysOf[T any](facets []facet[T], impact Impact) string {
	var keys []string
	for _, f := range facets {
		if key := "`" + f.key + "`"; f.impact == impact && !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	return strings.Join(keys, ", ")
}
