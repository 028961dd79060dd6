// Makes references.jsonl: what the Go agents of each generation ask their engine for, for images as
// templates name them.
//
// The rules are those of the tagged sources, in our words: v0.1.0 pulls and creates registry + "/"
// + image; v0.2 to v0.6 pull that and create path.Join(registry, image); v0.7 to v0.12 do both with
// path.Join, with or without a registry; tink-agent takes the image as it is. Docker's client and
// engine parse the result with distribution/reference, which completes it.
//
// Run in this directory: go run . > references.jsonl
package main

import (
	// Kinds of digest, as Docker has them.
	_ "crypto/sha256"
	_ "crypto/sha512"
	"encoding/json"
	"os"
	"path"
	"strings"

	"github.com/distribution/reference"
)

// An empty text stands for "refused".
func canonical(text string) string {
	named, err := reference.ParseNormalizedNamed(text)
	// The package takes a malformed registry for a part of the path; an engine has no place to ask
	// then.
	if err != nil || reference.Domain(named) == "" {
		return ""
	}
	if digested, ok := named.(reference.Canonical); ok {
		return reference.TrimNamed(named).Name() + "@" + digested.Digest().String()
	}
	return reference.TagNameOnly(named).String()
}

// Pull and creation must name the same image.
func both(pull, create string) string {
	if one, other := canonical(pull), canonical(create); one == other {
		return one
	}
	return ""
}

type row struct {
	Registry string            `json:"registry"`
	Image    string            `json:"image"`
	Expected map[string]string `json:"expected"`
}

func main() {
	digest := "sha256:" + strings.Repeat("0123456789abcdef", 4)
	images := []string{
		"busybox", "busybox:1.36", "flatcar-install", "library/busybox", "tools/flatcar-install:v1", "a/b/c/d:e",
		"docker.io/busybox", "docker.io/library/busybox:1", "index.docker.io/busybox", "registry-1.docker.io/library/busybox",
		"quay.io/tinkerbell-actions/cexec:v1.0.0", "quay.io/x/y", "ghcr.io/jacobweinstock/waitdaemon:latest", "public.ecr.aws/l0g8r8j6/tinkerbell/hub/waitdaemon:0.2.1",
		"localhost/x", "localhost:5000/x", "localhost:5000/x/y:z", "a.b/c", "a.b:1/c:2", "127.0.0.1/embedded/kexec", "10.9.9.1:5000/busybox", "10.9.9.1:5000/busybox:2",
		"10.9.9.1/busybox", "reg2:5000/busybox", "reg2:5000/a/b@" + digest, "[fd00::1]:5000/x", "Registry.Example.com/x", "UPPER/x",
		"busybox@" + digest, "busybox:1@" + digest, "ghcr.io/x/y:tag@" + digest, "a__b/c-d.e--f", "x_y.z-0", "0123456789abcdef",
		strings.Repeat("0123456789abcdef", 4), "busybox:" + strings.Repeat("t", 128), "busybox:" + strings.Repeat("t", 129), strings.Repeat("p", 247), strings.Repeat("p", 260),
		"", "Busybox", "a b", "x/", "/x", "a//b", "./x", "../x", "a/../b", "https://reg/x", "x:", "x:a:b", "x@sha256:12", "x@md5:" + strings.Repeat("0", 32),
		"x@sha256:" + strings.Repeat("A", 64), "reg_1.example.com/x", "-x", "x-", "x..y", "a.b/", "x@" + digest + "@" + digest,
	}
	rows := []row{}
	for _, registry := range []string{"10.9.9.1:5000", "10.9.9.1:5000/mirror/", "registry.example.com", ""} {
		for _, image := range images {
			literal, joined := registry+"/"+image, path.Join(registry, image)
			expected := map[string]string{"v0.7": both(joined, joined), "v0.9": both(joined, joined), "current": canonical(image)}
			if registry != "" {
				// Without one these end at once.
				expected["v0.1"], expected["v0.2"] = both(literal, literal), both(literal, joined)
			}
			rows = append(rows, row{registry, image, expected})
		}
	}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetEscapeHTML(false)
	for _, row := range rows {
		if err := encoder.Encode(row); err != nil {
			panic(err)
		}
	}
}
