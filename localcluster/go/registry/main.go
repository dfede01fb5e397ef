// Command registry is an image registry for tests: it listens on 127.0.0.1 and keeps its blobs
// in a folder, so that the way with KUBECONFIG and IMAGE_PREFIX can be shown without any other.
//
// Source: the OCI distribution specification, as served by go-containerregistry's pkg/registry.
package main

import (
	"flag"
	"log"
	"net/http"
	"os"

	"github.com/google/go-containerregistry/pkg/registry"
)

func main() {
	address := flag.String("address", "127.0.0.1:5000", "where to listen")
	folder := flag.String("folder", "", "where blobs are kept; memory when empty")
	flag.Parse()
	options := []registry.Option{registry.Logger(log.New(os.Stderr, "", log.LstdFlags))}
	if *folder != "" {
		if err := os.MkdirAll(*folder, 0o755); err != nil {
			log.Fatal(err)
		}
		options = append(options, registry.WithBlobHandler(registry.NewDiskBlobHandler(*folder)))
	}
	log.Fatal(http.ListenAndServe(*address, registry.New(options...)))
}
