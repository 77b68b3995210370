// Command testsum reads the output of go test -json from its standard input and writes what people want to see:
// the packages, the output of what failed, what was skipped and why, and last a line with the numbers.
//
// With -strict a skipped test is a failure, unless its output matches -optional. It exits with status 1 if
// anything failed or nothing was tested.
package main

import (
	"flag"
	"fmt"
	"os"
	"regexp"
)

func main() {
	strict := flag.Bool("strict", false, "count skipped tests as failed")
	optional := flag.String("optional", "", "regular `expression` for the output of tests that may be skipped nevertheless")
	flag.Parse()
	may, err := regexp.Compile(*optional)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testsum:", err)
		os.Exit(2)
	}
	s := summary{out: os.Stdout, strict: *strict}
	if *optional != "" {
		s.optional = may
	}
	if err := s.read(os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "testsum:", err)
		os.Exit(2)
	}
	if !s.close() {
		os.Exit(1)
	}
}
