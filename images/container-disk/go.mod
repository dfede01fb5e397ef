module virtpod/container-disk

go 1.24
