#!/bin/sh
# Makes of installed packages what is the same for everybody and starts fast: `finish.sh ROOT`.
set -eu
root=${1%/}

# Each machine makes its own.
rm -f "$root"/etc/ssh/ssh_host_* "$root"/var/lib/systemd/random-seed "$root"/etc/.pwd.lock
: >"$root"/etc/machine-id # empty and not missing: systemd takes no boot for the first

rm -rf "$root"/boot/initrd* "$root"/boot/System.map* "$root"/usr/share/doc "$root"/usr/share/man \
    "$root"/usr/share/info "$root"/usr/share/lintian "$root"/usr/share/i18n \
    "$root"/usr/share/bash-completion "$root"/var/lib/apt "$root"/var/cache/* "$root"/var/log/* \
    "$root"/var/backups "$root"/etc/apt "$root"/etc/dpkg/dpkg.cfg.d/99mmdebstrap
rm -f "$root"/var/lib/dpkg/*-old "$root"/etc/passwd- "$root"/etc/group- "$root"/etc/shadow- \
    "$root"/etc/gshadow-
find "$root"/usr/share/locale -mindepth 1 -maxdepth 1 -exec rm -rf {} +

# Under emulation each of these costs seconds of a boot, and a small machine has no use for it.
for unit in sshd-keygen.service e2scrub_reap.service e2scrub_all.timer dpkg-db-backup.timer \
    fstrim.timer systemd-pstore.service systemd-hwdb-update.service getty@tty1.service \
    systemd-update-done.service ldconfig.service systemd-journal-catalog-update.service \
    systemd-network-generator.service systemd-random-seed.service systemd-binfmt.service \
    proc-sys-fs-binfmt_misc.automount systemd-networkd-persistent-storage.service \
    sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount \
    sys-fs-fuse-connections.mount dev-mqueue.mount modprobe@drm.service modprobe@configfs.service \
    modprobe@fuse.service kmod-static-nodes.service systemd-tmpfiles-clean.timer \
    systemd-journal-flush.service cloud-init-hotplugd.socket; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
chroot "$root" systemctl enable systemd-networkd.service qemu-guest-agent.service >/dev/null 2>&1 || true

# Unpacked modules load in a tenth of the time; the disk is packed as a whole.
chroot "$root" python3 -I - <<'END'
import glob, lzma, os
for path in glob.glob("/usr/lib/modules/*/kernel/**/*.ko.xz", recursive=True):
    with lzma.open(path) as packed, open(path.removesuffix(".xz"), "wb") as plain:
        plain.write(packed.read())
    os.remove(path)
END
chroot "$root" depmod "$(ls "$root"/usr/lib/modules)"

# Python's are compiled once, here; nobody looks at their sources' times again.
chroot "$root" python3 -I -m compileall -qf --invalidation-mode unchecked-hash \
    /usr/lib/python3 /usr/lib/python3.13
