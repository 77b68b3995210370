package config

import (
	"os"
	"strings"
	"testing"
)

// known lists every key that strongSwan 6 knows, by section. Each must have a row in the tables, so that its
// users get an answer that fits and not "unknown key"; own are the keys of a connection that it does not know, culvert those of a section.
var known = map[string]string{
	"conn": `version local_addrs remote_addrs local_port remote_port proposals vips aggressive pull dscp encap mobike dpd_delay
		dpd_timeout fragmentation childless send_certreq send_cert ocsp ppk_id ppk_required keyingtries unique reauth_time
		rekey_time over_time rand_time pools if_id_in if_id_out mediation mediated_by mediation_peer`,
	"charon":  "retransmit_timeout retransmit_base retransmit_tries retransmit_jitter retransmit_limit make_before_break follow_redirects",
	"culvert": "no_offload",
	"own":     "crash_detection window_size retransmit_timeout retransmit_base retransmit_tries retransmit_jitter retransmit_limit make_before_break follow_redirects",
	"pool":    "addrs dns nbns dhcp netmask subnet split_include split_exclude dns_domain 25 address server p_cscf",
	"local":   "round certs pubkeys auth id eap_id aaa_id xauth_id",
	"remote":  "round id eap_id groups cert_policy certs cacerts ca_id pubkeys revocation auth",
	"child": `ah_proposals esp_proposals sha256_96 local_ts remote_ts rekey_time life_time rand_time rekey_bytes life_bytes
		rand_bytes rekey_packets life_packets rand_packets updown hostaccess mode policies policies_fwd_out dpd_action ipcomp
		inactivity reqid priority interface mark_in mark_out mark_in_sa set_mark_in set_mark_out if_id_in if_id_out label
		label_mode tfc_padding replay_window per_cpu_sas hw_offload copy_df copy_ecn copy_dscp icmp start_action close_action`,
}

func TestEveryKeyHasOneRow(t *testing.T) {
	rows := map[string][]row{"conn": rowsOf(swanctlKeys), "charon": rowsOf(charonKeys), "culvert": rowsOf(culvertKeys), "own": rowsOf(connectionKeys[len(swanctlKeys):]), "pool": rowsOf(poolKeys), "local": rowsOf(localKeys), "remote": rowsOf(remoteKeys), "child": rowsOf(childKeys)}
	manual, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	for section, names := range known {
		want := make(map[string]bool)
		for name := range strings.FieldsSeq(names) {
			want[name] = true
		}
		for _, r := range rows[section] {
			if !want[r.name] {
				t.Errorf("%s: %s stands in the table twice or is no key of strongSwan", section, r.name)
			}
			delete(want, r.name)
			if n := count(r.set, r.ignored != "", r.refused != ""); n != 1 {
				t.Errorf("%s: %s has %d of set, ignored and refused, must have one", section, r.name, n)
			}
			if !strings.Contains(string(manual), "`"+r.name+"`") {
				t.Errorf("%s: docs/configuration.md says nothing of %s", section, r.name)
			}
		}
		for name := range want {
			t.Errorf("%s: %s has no row", section, name)
		}
	}
}

type row struct {
	name             string
	set              bool
	ignored, refused string
}

func rowsOf[T any](keys []key[T]) []row {
	var rows []row
	for _, k := range keys {
		rows = append(rows, row{k.name, k.set != nil, k.ignored, k.refused})
	}
	return rows
}

func count(facts ...bool) int {
	n := 0
	for _, fact := range facts {
		if fact {
			n++
		}
	}
	return n
}

func TestDistance(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"a", "", 1}, {"", "abc", 3}, {"abc", "abc", 0}, {"abc", "abd", 1}, {"abc", "acb", 1},
		{"verison", "version", 1}, {"secert", "secret", 1}, {"kitten", "sitting", 3}, {"ab", "ba", 1},
	} {
		if got := distance(test.a, test.b); got != test.want {
			t.Errorf("distance(%q, %q) = %d, wanted %d", test.a, test.b, got, test.want)
		}
	}
}

func TestDidYouMean(t *testing.T) {
	list := keyNames(connectionKeys)
	for word, want := range map[string]string{
		"dpd-delay": `did you mean "dpd_delay"?`,
		"proposal":  `did you mean "proposals"?`,
		"Version":   `did you mean "version"?`,
		"zzz":       "",
	} {
		if got := didYouMean(word, list); got != want {
			t.Errorf("%s: %q, wanted %q", word, got, want)
		}
	}
}
