package main

import (
	"regexp"
	"strings"
	"testing"
)

func TestSummary(t *testing.T) {
	const pass = `{"Action":"run","Package":"p","Test":"A"}
{"Action":"output","Package":"p","Test":"A","Output":"=== RUN   A\n"}
{"Action":"output","Package":"p","Test":"A","Output":"chatter\n"}
{"Action":"pass","Package":"p","Test":"A"}
{"Action":"output","Package":"p","Output":"PASS\n"}
{"Action":"output","Package":"p","Output":"ok  \tp\t0.1s\n"}
{"Action":"pass","Package":"p"}
`
	const skip = `{"Action":"output","Package":"p","Test":"S","Output":"    s_test.go:3: no vectors\n"}
{"Action":"skip","Package":"p","Test":"S"}
`
	for _, test := range []struct {
		name, in, want string
		strict         bool
		optional       string
		ok             bool
	}{
		{"pass", pass, "ok  \tp\t0.1s\n1 passed, 0 failed, 0 skipped\n", false, "", true},
		{"nothing", "", "0 passed, 0 failed, 0 skipped\n", false, "", false},
		{"package without tests", `{"Action":"skip","Package":"p"}`, "0 passed, 0 failed, 0 skipped\n", true, "", false},
		{"skip", pass + skip, "ok  \tp\t0.1s\nskipped: p S: s_test.go:3: no vectors\n1 passed, 0 failed, 1 skipped\n", false, "", true},
		{"strict skip", pass + skip, "ok  \tp\t0.1s\nfailed: p S: s_test.go:3: no vectors\n1 passed, 1 failed, 0 skipped\n", true, "", false},
		{"strict skip of another kind", pass + skip, "ok  \tp\t0.1s\nfailed: p S: s_test.go:3: no vectors\n1 passed, 1 failed, 0 skipped\n", true, "root", false},
		{"optional skip", pass + skip, "ok  \tp\t0.1s\nskipped: p S: s_test.go:3: no vectors\n1 passed, 0 failed, 1 skipped\n", true, "no vectors", true},
		{"fail", `{"Action":"output","Package":"p","Test":"F","Output":"wrong\n"}
{"Action":"fail","Package":"p","Test":"F"}
{"Action":"output","Package":"p","Output":"FAIL\n"}
{"Action":"output","Package":"p","Output":"FAIL\tp\t0.1s\n"}
{"Action":"fail","Package":"p"}
`, "wrong\nFAIL\tp\t0.1s\nfailed: p F\n0 passed, 1 failed, 0 skipped\n", false, "", false},
		{"killed", pass + `{"Action":"output","Package":"q","Test":"K","Output":"panic: x\n"}
{"Action":"fail","Package":"q"}
`, "ok  \tp\t0.1s\npanic: x\nfailed: q\n1 passed, 1 failed, 0 skipped\n", false, "", false},
		{"does not compile", pass + `{"Action":"build-output","ImportPath":"q","Output":"q.go:1: syntax error\n"}
{"Action":"build-fail","ImportPath":"q"}
{"Action":"output","Package":"q","Output":"FAIL\tq [build failed]\n"}
{"Action":"fail","Package":"q"}
`, "ok  \tp\t0.1s\nq.go:1: syntax error\nFAIL\tq [build failed]\nfailed: q\n1 passed, 1 failed, 0 skipped\n", false, "", false},
		{"words of the go command", "go: downloading x\n" + pass, "go: downloading x\nok  \tp\t0.1s\n1 passed, 0 failed, 0 skipped\n", false, "", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out strings.Builder
			s := summary{out: &out, strict: test.strict}
			if test.optional != "" {
				s.optional = regexp.MustCompile(test.optional)
			}
			if err := s.read(strings.NewReader(test.in)); err != nil {
				t.Fatal(err)
			}
			if ok := s.close(); ok != test.ok {
				t.Errorf("close() = %v", ok)
			}
			if out.String() != test.want {
				t.Errorf("wrote\n%s\nwanted\n%s", out.String(), test.want)
			}
		})
	}
}
