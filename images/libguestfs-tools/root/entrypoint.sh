#!/bin/bash
# A shell for libguestfs' tools. Without a terminal or a pipe to read from it ends at once, so a pod
# gives it its standard input.
set -eu
export LIBGUESTFS_BACKEND=${LIBGUESTFS_BACKEND:-direct}
export LIBGUESTFS_PATH=${LIBGUESTFS_PATH:-/usr/local/lib/guestfs/appliance}
export LIBGUESTFS_TMPDIR=${LIBGUESTFS_TMPDIR:-/tmp} LIBGUESTFS_CACHEDIR=${LIBGUESTFS_CACHEDIR:-/tmp}
if [ ! -w /dev/kvm ]; then
    export LIBGUESTFS_BACKEND_SETTINGS=${LIBGUESTFS_BACKEND_SETTINGS:-force_tcg}
fi
exec "${@:-/bin/bash}"
