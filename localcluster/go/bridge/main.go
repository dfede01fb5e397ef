// Command asked-bridge is the CNI plugin bridge for pods that ask for addresses: it reads them in
// the pod's annotations, in Calico's words, and hands them on as bridge and host-local take them. A
// pod that asks for none gets what those give.
//
// Sources: CONVENTIONS.md of the CNI specification (`args.cni`), Calico's "Use a specific IP address
// with a pod", containerd's capability io.kubernetes.cri.pod-annotations.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

const (
	annotations = "io.kubernetes.cri.pod-annotations"
	askedIPs    = "cni.projectcalico.org/ipAddrs"
	askedMAC    = "cni.projectcalico.org/hwAddr"
	mostBytes   = 1 << 20
)

func main() {
	config, err := io.ReadAll(io.LimitReader(os.Stdin, mostBytes))
	if err == nil {
		config, err = withAsked(config)
	}
	if err != nil {
		fail(err)
	}
	own, err := os.Executable()
	if err != nil {
		fail(err)
	}
	plugin := exec.Command(filepath.Join(filepath.Dir(own), "bridge"))
	plugin.Stdin, plugin.Stdout, plugin.Stderr = bytes.NewReader(config), os.Stdout, os.Stderr
	err = plugin.Run()
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		os.Exit(ended.ExitCode()) // it has told why
	}
	if err != nil {
		fail(err)
	}
}

// withAsked puts what the pod asks for where bridge and host-local look for it.
func withAsked(config []byte) ([]byte, error) {
	var whole map[string]any
	if err := json.Unmarshal(config, &whole); err != nil {
		return nil, err
	}
	runtime, _ := whole["runtimeConfig"].(map[string]any)
	told, _ := runtime[annotations].(map[string]any)
	asked := map[string]any{}
	if text, _ := told[askedIPs].(string); text != "" {
		var addresses []string
		if err := json.Unmarshal([]byte(text), &addresses); err != nil {
			return nil, fmt.Errorf("annotation %s: %w", askedIPs, err)
		}
		asked["ips"] = addresses
	}
	if mac, _ := told[askedMAC].(string); mac != "" {
		asked["mac"] = mac
	}
	if len(asked) == 0 {
		return config, nil
	}
	whole["args"] = map[string]any{"cni": asked}
	return json.Marshal(whole)
}

// fail answers as CNI plugins do: an error object, code 7 (invalid network configuration).
func fail(err error) {
	_ = json.NewEncoder(os.Stdout).Encode(map[string]any{
		"cniVersion": "1.0.0", "code": 7, "msg": err.Error(),
	})
	os.Exit(1)
}
