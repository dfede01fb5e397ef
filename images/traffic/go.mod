module virtpod/traffic

go 1.24
