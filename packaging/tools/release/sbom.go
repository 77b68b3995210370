package main

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// makeSBOM lists what the binary was made of, in CycloneDX: the modules that the linker noted in it, not those of go.mod.
func makeSBOM(b *build) (string, error) {
	program, err := os.ReadFile(b.binary)
	if err != nil {
		return "", err
	}
	info, err := buildinfo.Read(bytes.NewReader(program))
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(program)
	main := cdx.Component{
		BOMRef: purl(&info.Main), Type: cdx.ComponentTypeApplication, Name: info.Main.Path, Version: info.Main.Version, PackageURL: purl(&info.Main),
		Hashes:   &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hex.EncodeToString(sum[:])}},
		Licenses: &cdx.Licenses{{License: &cdx.License{ID: "Apache-2.0"}}},
	}
	standard := debug.Module{Path: "std", Version: info.GoVersion}
	var components []cdx.Component
	var refs []string
	for _, dep := range append(info.Deps, &standard) {
		if dep.Replace != nil {
			dep = dep.Replace
		}
		c := cdx.Component{BOMRef: purl(dep), Type: cdx.ComponentTypeLibrary, Name: dep.Path, Version: dep.Version, PackageURL: purl(dep)}
		if rest, ok := strings.CutPrefix(dep.Sum, "h1:"); ok {
			if sum, err := base64.StdEncoding.DecodeString(rest); err == nil {
				c.Hashes = &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hex.EncodeToString(sum)}}
			}
		}
		components, refs = append(components, c), append(refs, c.BOMRef)
	}
	bom := cdx.NewBOM()
	// A UUID of version 8 (RFC 9562 5.8): the digits after the marks of version and variant are the hash's.
	bom.SerialNumber = fmt.Sprintf("urn:uuid:%x-%x-8%s-8%s-%x", sum[:4], sum[4:6], hex.EncodeToString(sum[6:8])[1:], hex.EncodeToString(sum[8:10])[1:], sum[10:16])
	bom.Metadata = &cdx.Metadata{Timestamp: b.date.Format(time.RFC3339), Component: &main}
	bom.Components = &components
	bom.Dependencies = &[]cdx.Dependency{{Ref: main.BOMRef, Dependencies: &refs}}

	var out bytes.Buffer
	if err := cdx.NewBOMEncoder(&out, cdx.BOMFileFormatJSON).SetPretty(true).EncodeVersion(bom, cdx.SpecVersion1_6); err != nil {
		return "", err
	}
	path := filepath.Join(b.out, fmt.Sprintf("culvert-%s-linux-%s.cdx.json", b.version.plain(), b.arch))
	return path, os.WriteFile(path, out.Bytes(), 0o644)
}

// purl is the URL of a module as a package.
func purl(m *debug.Module) string {
	version := strings.ReplaceAll(m.Version, "+", "%2B")
	if version == "" || version == "(devel)" {
		return "pkg:golang/" + m.Path
	}
	return "pkg:golang/" + m.Path + "@" + version
}
