module virtpod/localcluster/pause

go 1.25.0
