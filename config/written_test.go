package config

import (
	"reflect"
	"testing"
)

// TestWritten wants a connection as it stands in the files, inherited settings included, and a copy of it.
func TestWritten(t *testing.T) {
	conf, _, err := Parse("x.conf", []byte(`
base {
	proposals = aes128-sha256-x25519
	remote { auth = psk
		id = @peer
	}
}
connections {
	one : base {
		local { auth = psk
			id = "@the one"
		}
		children { net { remote_ts = 10.0.0.0/8 } }
	}
}
secrets { ike-x { secret = "sixteen bytes or more" } }
`), Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := Section{Name: "one", Settings: []Setting{{"proposals", "aes128-sha256-x25519"}}, Sections: []Section{
		{Name: "local", Settings: []Setting{{"auth", "psk"}, {"id", "@the one"}}},
		{Name: "children", Sections: []Section{{Name: "net", Settings: []Setting{{"remote_ts", "10.0.0.0/8"}}}}},
		{Name: "remote", Settings: []Setting{{"auth", "psk"}, {"id", "@peer"}}},
	}}
	got, _ := conf.Written("one")
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%+v, want %+v", got, want)
	}
	got.Set("proposals", "default")
	got.Set("local_addrs", "%any")
	got.Inner("local").Set("id", "@two")
	got.Inner("pools").Set("a", "b")
	if got.Value("local_addrs") != "%any" || got.Value("proposals") != "default" || got.Inner("local").Value("id") != "@two" || len(got.Sections) != 4 {
		t.Errorf("changed: %+v", got)
	}
	if again, ok := conf.Written("one"); !ok || !reflect.DeepEqual(again, want) {
		t.Error("what was changed is not a copy")
	}
	_, two := conf.Written("two")
	if _, none := new(Config).Written("one"); two || none {
		t.Error("a connection that is not there is written")
	}
}
