package main

import (
	"context"

	"k8s.io/apiserver/pkg/server"
)

// contextOfSignals ends at SIGTERM or SIGINT. Only the kubelet wants its context from outside,
// and it may be made only once, so it is made when the kubelet has been picked.
func contextOfSignals() context.Context { return server.SetupSignalContext() }
