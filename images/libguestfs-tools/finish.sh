#!/bin/sh
# Makes libguestfs' appliance of the packages, once, and leaves out what nobody needs beside it:
# `finish.sh ROOT`. /entrypoint.sh says where the appliance is.
set -eu
root=${1%/}
appliance=/usr/local/lib/guestfs/appliance

# As libguestfs itself would at each first start; README.fixed says to it that this one is whole.
mkdir -p "$root$appliance"
chroot "$root" supermin --build --copy-kernel -f ext2 --host-cpu x86_64 \
    /usr/lib/x86_64-linux-gnu/guestfs/supermin.d -o "$appliance"
# It is 4 GiB of mostly nothing, which would not travel well; its programs need some room to work.
# resize2fs looks at what is mounted.
unshare --mount sh -euc '
    mount -t proc proc "$1/proc"
    chroot "$1" e2fsck -fp "$2"
    chroot "$1" resize2fs -M "$2"
    truncate -s +128M "$1$2"
    chroot "$1" resize2fs "$2"
' sh "$root" "$appliance/root" >/dev/null
echo 'Made of Debian packages when the image was.' >"$root$appliance/README.fixed"
chmod -R a+rX "$root$appliance"

# The appliance has its own kernel, drivers and programs.
rm -rf "$root"/boot/* "$root"/usr/lib/modules "$root"/usr/lib/x86_64-linux-gnu/guestfs/supermin.d \
    "$root"/vmlinuz* "$root"/initrd.img*
rm -rf "$root"/usr/share/doc "$root"/usr/share/man "$root"/usr/share/info "$root"/usr/share/lintian \
    "$root"/usr/share/bash-completion "$root"/usr/share/icons "$root"/usr/share/i18n \
    "$root"/var/lib/apt "$root"/var/cache/* "$root"/var/log/* "$root"/var/backups "$root"/etc/apt \
    "$root"/etc/dpkg/dpkg.cfg.d/99mmdebstrap "$root"/etc/machine-id
find "$root"/usr/share/locale -mindepth 1 -maxdepth 1 -exec rm -rf {} +
rm -f "$root"/var/lib/dpkg/*-old "$root"/etc/passwd- "$root"/etc/group- "$root"/etc/shadow- \
    "$root"/etc/gshadow-
