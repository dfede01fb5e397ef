# The inside of a launcher's container, for tests: `container.sh ROOT RUN KVM PROGRAM...`.
# ROOT: the mounted image; RUN: the folder that becomes /run, shared with the test.
# Started as the first process of new mount, PID, network and UTS namespaces.
set -eu
root=$1 run=$2 kvm=$3
shift 3
mount --make-rprivate /
enter() { # as a container's: in a mere chroot there could be no user namespaces
    cd "$root"
    pivot_root . mnt
    umount -l mnt
    exec "$@"
}
mount --rbind "$run" "$root/run"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
if [ -d "$run/pci" ]; then # PCI functions that this host does not have
    mount --bind "$run/pci" "$root/sys/bus/pci/devices"
fi
mount -t tmpfs -o mode=755 dev "$root/dev"
mkdir -p "$root/dev/net" "$root/dev/shm" "$root/dev/pts"
chmod 1777 "$root/dev/shm"
for node in null zero full random urandom; do
    touch "$root/dev/$node"
    mount --bind "/dev/$node" "$root/dev/$node"
done
mknod "$root/dev/net/tun" c 10 200 # the host's own may be for root alone
chmod 666 "$root/dev/net/tun"
if [ "$kvm" = yes ]; then
    mknod "$root/dev/kvm" c 10 232
    chmod 666 "$root/dev/kvm"
fi
touch "$root/dev/termination-log"
mount --bind "$run/../termination-log" "$root/dev/termination-log"
printf 'nameserver 192.0.2.53\nsearch test.local\n' >"$root/etc/resolv.conf"
echo "127.0.0.1 localhost $(hostname)" >"$root/etc/hosts" # as a pod's has it
ip link set lo up
if [ -e "$run/bare" ]; then # the test makes the network itself
    enter "$@"
fi
ip link add k6t-eth0 type bridge
ip addr add 10.0.2.1/24 dev k6t-eth0
ip link set k6t-eth0 up
queues=
if [ -e "$run/multi-queue" ]; then queues=multi_queue; fi
ip tuntap add tap0 mode tap $queues user 107
ip link set tap0 master k6t-eth0 up
echo 0 >/proc/sys/net/ipv4/ip_unprivileged_port_start
enter "$@"
