package archtest

import "strings"

// module is the import path of the project.
const module = "github.com/culvert-vpn/culvert"

// imports is the import graph of docs/architecture.md: which packages of the project each one may import outside
// of its tests. A package without a row is an error, so that nobody adds an arrow without looking here.
var imports = map[string]string{
	// These decide.
	"internal/inet":      "",
	"internal/prefetch":  "",
	"ident":              "",
	"suite/internal/gcm": "",
	"suite":              "internal/prefetch suite/internal/gcm",
	"natt":               "",
	"explain":            "",
	"convert":            "ident internal/conftext suite ts",
	"draft":              "internal/conftext",
	"internal/conftext":  "",
	"offload":            "",
	"vici":               "",
	"ts":                 "internal/inet",
	"pool":               "ident",
	"psk":                "ident suite",
	"ike/wire":           "ident suite ts",
	"ike":                "explain ident ike/wire natt psk suite ts",
	"esp":                "internal/inet internal/prefetch suite",

	// These touch the world.
	"tun":             "internal/inet offload",
	"udp":             "internal/holder offload",
	"internal/holder": "explain",
	"resolved":        "",
	"vici/client":     "vici",
	"config":          "ident ike offload psk suite ts",
	"gateway":         "config esp explain ident ike ike/wire internal/holder internal/inet internal/prefetch natt offload pool psk resolved suite ts tun udp vici vici/client",
	"doctor":          "config explain gateway ident ike ike/wire internal/conftext internal/holder natt offload suite ts udp",
	"metrics":         "gateway ike",
	"cmd/...":         "bench/compare config convert doctor draft esp explain gateway ident ike ike/wire internal/demo internal/holder internal/inet metrics natt offload pool psk resolved suite ts tun udp vici vici/client",

	// These test, measure and serve the work on the project.
	"tun/tuntest":            "offload tun",
	"udp/udptest":            "udp",
	"resolved/resolvedtest":  "",
	"bench":                  "config esp gateway ident ike ike/wire internal/inet natt offload pool psk resolved suite ts tun udp",
	"bench/load":             "",
	"bench/compare":          "bench/load gateway internal/lab",
	"bench/tunnels":          "config esp gateway ident ike ike/wire internal/inet internal/lab natt suite ts udp",
	"internal/sim":           "ident ike ike/wire internal/inet natt pool psk suite ts",
	"internal/lab":           "",
	"internal/demo":          "config gateway ident ike internal/lab natt suite ts",
	"internal/e2e":           "config doctor esp explain gateway ident ike ike/wire internal/holder internal/inet internal/lab internal/secrecy natt offload pool psk resolved suite ts tun udp vici vici/client",
	"internal/archtest":      "",
	"packaging/tools/...":    "",
	"internal/secrecy":       "",
	"internal/conformance":   "",
	"internal/testsum":       "",
	"internal/inet/inettest": "",
}

// deciding are the packages that take time, randomness and bytes and return values, and do nothing else.
var deciding = words("draft convert explain internal/conftext ident psk ts suite suite/internal/gcm natt offload pool vici ike/wire ike esp internal/inet internal/prefetch")

// forTests may be imported by tests, by each other and by the programs that exercise the whole, but by nothing
// that runs in the daemon.
var forTests = words("tun/tuntest udp/udptest resolved/resolvedtest internal/inet/inettest internal/sim internal/archtest internal/conformance internal/testsum")

// worldly are the imports a deciding package must not have. Each stands for the packages below it too, but
// for those in harmless.
var worldly = words("net os log syscall math/rand crypto/rand plugin io/ioutil golang.org/x/sys golang.org/x/net github.com/vishvananda github.com/songgao github.com/spf13 github.com/coreos")

// harmless are exceptions from worldly.
var harmless = words("net/netip")

// partly are exceptions from worldly for single names: what a deciding package may use of an import.
var partly = map[[2]string][]string{
	{"psk", "log/slog"}:                            words("Value StringValue"), // a secret that is logged must say that it is one
	{"suite/internal/gcm", "golang.org/x/sys/cpu"}: words("X86"),               // which instructions there are
	{"internal/inet", "golang.org/x/sys/cpu"}:      words("X86"),
}

// clocks are the functions of package time that read a clock or start a timer.
var clocks = words("Now Since Until After AfterFunc NewTimer NewTicker Tick Sleep")

// printers are the functions of package fmt that write to the standard output.
var printers = words("Print Printf Println")

// starters are the packages that may start goroutines outside of their tests; the daemon's are all in gateway.
var starters = words("gateway doctor cmd/... internal/e2e internal/lab tun/tuntest udp/udptest resolved/resolvedtest bench/...")

// maxLines is how long a file outside of tests may be.
const maxLines = 600

func words(list string) []string { return strings.Fields(list) }

// covers reports whether one of patterns names pkg: as it is, or by "dir/..." with all below.
func covers(patterns []string, pkg string) bool {
	for _, p := range patterns {
		dir, below := strings.CutSuffix(p, "/...")
		if p == pkg || below && (pkg == dir || strings.HasPrefix(pkg, dir+"/")) {
			return true
		}
	}
	return false
}

// rowOf is the row of imports that pkg falls under.
func rowOf(pkg string) (allowed []string, ok bool) {
	for name, row := range imports {
		if covers([]string{name}, pkg) {
			return words(row), true
		}
	}
	return nil, false
}
