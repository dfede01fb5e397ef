module virtpod/localcluster/bridge

go 1.25.0
