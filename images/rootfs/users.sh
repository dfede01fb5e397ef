#!/bin/sh
# Users that must have the same number everywhere; before packages take numbers for their own.
# Both ways of building run it: `users.sh ROOT`.
set -eu
etc=${1%/}/etc

# 107 is who launchers run as, and whose disks they read, as in KubeVirt.
grep -q '^qemu:' "$etc/group" || echo 'qemu:x:107:' >>"$etc/group"
grep -q '^qemu:' "$etc/passwd" ||
    echo 'qemu:x:107:107:qemu:/var/run/kubevirt-private:/usr/sbin/nologin' >>"$etc/passwd"
