#!/bin/sh
# What is left to do once the packages are there. Both ways of building run it: `finish.sh ROOT`.
set -eu
root=${1%/}

# Nobody reads or installs anything in a container.
rm -rf "$root"/usr/share/doc "$root"/usr/share/man "$root"/usr/share/info "$root"/usr/share/lintian \
    "$root"/usr/share/bash-completion "$root"/usr/share/bug "$root"/usr/share/gcc \
    "$root"/usr/share/gdb "$root"/usr/share/systemd "$root"/usr/share/polkit-1 \
    "$root"/usr/share/pixmaps "$root"/usr/share/icons "$root"/usr/share/applications \
    "$root"/usr/share/pam "$root"/usr/share/pam-configs "$root"/usr/share/menu \
    "$root"/var/lib/apt "$root"/var/cache/* "$root"/var/log/* "$root"/var/backups \
    "$root"/etc/apt "$root"/etc/cron.* "$root"/etc/init.d "$root"/etc/rc?.d "$root"/etc/logrotate.d \
    "$root"/etc/dpkg/dpkg.cfg.d/99mmdebstrap "$root"/etc/machine-id
find "$root"/usr/share/locale -mindepth 1 -maxdepth 1 -exec rm -rf {} +
find "$root"/usr/share/i18n "$root"/usr/lib/locale -mindepth 1 -maxdepth 1 ! -name 'C.*' \
    -exec rm -rf {} + 2>/dev/null || true
rm -f "$root"/var/lib/dpkg/*-old "$root"/etc/passwd- "$root"/etc/group- "$root"/etc/shadow- \
    "$root"/etc/gshadow-

# systemd comes along with libvirt, and is never started here; its libraries stay.
rm -rf "$root"/usr/lib/systemd/systemd* "$root"/usr/lib/systemd/system "$root"/usr/lib/systemd/user \
    "$root"/usr/lib/systemd/catalog "$root"/usr/lib/udev/hwdb.d "$root"/usr/bin/systemd-* \
    "$root"/usr/bin/*ctl.systemd

# A relative link: an absolute one leads out of the image where it is read from outside.
rm -rf "$root"/var/run "$root"/var/lock
ln -s ../run "$root"/var/run
ln -s ../run/lock "$root"/var/lock

if [ -d "$root"/usr/lib/x86_64-linux-gnu/libvirt ]; then
    # libvirt asks every QEMU it finds what it can do: one is enough.
    rm -f "$root"/usr/bin/qemu-system-i386 "$root"/usr/bin/qemu-system-x86_64-microvm
    # Only these drivers are loaded: the others cost time and memory in each launcher.
    find "$root"/usr/lib/x86_64-linux-gnu/libvirt/connection-driver -name '*.so' \
        ! -name libvirt_driver_qemu.so -delete
    # The launcher writes its own; Debian's is for a libvirt that is root.
    rm -f "$root"/etc/libvirt/qemu*.conf "$root"/etc/libvirt/libvirtd.conf \
        "$root"/etc/libvirt/virtlogd.conf
fi

# Modules are compiled once, here; nobody looks at their sources' times again.
rm -rf "$root"/usr/lib/python3.13/test "$root"/usr/lib/python3.13/idlelib \
    "$root"/usr/lib/python3.13/ensurepip "$root"/usr/lib/python3.13/lib2to3 \
    "$root"/usr/lib/python3.13/pydoc_data "$root"/usr/lib/python3.13/turtledemo
chroot "$root"/ python3 -I - "" /usr/lib/python3 /usr/lib/python3.13 <"${0%/*}/compile.py"
mkdir -p "$root"/usr/local/lib/python3.13/dist-packages
