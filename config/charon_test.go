package config

import (
	"strings"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/ike"
)

// withCharon is a file with a section charon and keys of a connection.
func withCharon(charon, conn string) string {
	return "charon {\n" + charon + "\n}\n" + strings.Replace(natCase, "a {", "a {\n"+conn+"\n", 1)
}

func TestRetransmission(t *testing.T) {
	for _, test := range []struct {
		charon, conn string
		all, one     ike.Retransmit
	}{
		{"", "", ike.DefaultRetransmit, ike.Retransmit{}},
		{"retransmit_tries = 3\nretransmit_timeout = 0.5\nretransmit_base = 1\nretransmit_jitter = 20\nretransmit_limit = 1m", "",
			ike.Retransmit{Timeout: time.Second / 2, Base: 1, Tries: 3, Jitter: 20, Limit: time.Minute}, ike.Retransmit{}},
		{"retransmit_tries = 3", "retransmit_timeout = 2s",
			ike.Retransmit{Timeout: 4 * time.Second, Base: 1.8, Tries: 3}, ike.Retransmit{Timeout: 2 * time.Second, Base: 1.8, Tries: 3}},
	} {
		c, _ := mustParse(t, withCharon(test.charon, test.conn))
		if got := c.Connections[0].Retransmit; c.Retransmit != test.all || got != test.one {
			t.Errorf("%q %q: %+v and %+v, want %+v and %+v", test.charon, test.conn, c.Retransmit, got, test.all, test.one)
		}
	}
}

// TestRetransmissionIsDescribed: the operator sees how long a silent peer is waited for.
func TestRetransmissionIsDescribed(t *testing.T) {
	for conn, want := range map[string]string{
		"":                     "given up after 5 retransmissions of a request, in all 165s",
		"retransmit_tries = 1": "given up after 1 retransmissions of a request, in all 11s",
	} {
		c, _ := mustParse(t, withCharon("", conn))
		var b strings.Builder
		if err := c.Describe(&b); err != nil || !strings.Contains(b.String(), want) {
			t.Errorf("%q: %v, lacks %q:\n%s", conn, err, want, &b)
		}
	}
}

func TestRetransmissionOutOfBounds(t *testing.T) {
	for line, want := range map[string]string{
		"retransmit_tries = 0":     "the loss of one datagram",
		"retransmit_tries = 101":   "more than 100",
		"retransmit_tries = 40":    "given up only after",
		"retransmit_timeout = 0":   "0.1 to 86400",
		"retransmit_timeout = 0s":  "0.1 or more",
		"retransmit_timeout = NaN": "0.1 to 86400",
		"retransmit_timeout = 1x":  "not a time",
		"retransmit_base = 0.5":    "1 to 10",
		"retransmit_base = NaN":    "1 to 10",
		"retransmit_jitter = 21":   "more than 20",
		"retransmit_limit = -1":    "not a time",
		"retransmit_trys = 3":      "retransmit_tries",
		"install_routes = no":      "retransmit_timeout, retransmit_base",
		"window_size = 0":          "1 or more",
		"window_size = 65":         "more than 64",
	} {
		for _, text := range []string{withCharon(line, ""), withCharon("", line)} {
			_, _, err := Parse("test", []byte(text), Options{})
			if err == nil || !strings.Contains(err.Error(), want) && !strings.Contains(err.Error(), "unknown key") {
				t.Errorf("%s: %v, want %q", line, err, want)
			}
		}
	}
}

// TestMakeBeforeBreak: the connection decides, then the section charon; the default is make before break.
func TestMakeBeforeBreak(t *testing.T) {
	for _, test := range []struct {
		charon, conn string
		breakFirst   bool
	}{
		{"", "", false},
		{"make_before_break = no", "", true},
		{"make_before_break = no", "make_before_break = yes", false},
		{"", "make_before_break = no", true},
	} {
		c, _ := mustParse(t, withCharon(test.charon, test.conn))
		if got := c.Connections[0].BreakBeforeMake; got != test.breakFirst {
			t.Errorf("%q %q: break before make is %v", test.charon, test.conn, got)
		}
	}
}

// TestFollowRedirects: the connection decides, then the section charon; the default is to follow.
func TestFollowRedirects(t *testing.T) {
	for _, test := range []struct {
		charon, conn string
		follows      bool
	}{
		{"", "", true},
		{"follow_redirects = no", "", false},
		{"follow_redirects = no", "follow_redirects = yes", true},
		{"", "follow_redirects = no", false},
	} {
		c, _ := mustParse(t, withCharon(test.charon, test.conn))
		if got := c.Connections[0].FollowRedirects; got != test.follows {
			t.Errorf("%q %q: follows redirects is %v", test.charon, test.conn, got)
		}
	}
}
