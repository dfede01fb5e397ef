"""The system calls of a launcher whose guest has passt, as a profile for the container runtime.

passt shuts itself into namespaces of its own before it talks to a guest. Runtimes let no
unprivileged process make any, so their default cannot be used as it is. This one refuses what
containerd's default refuses to a container without capabilities, but for that; and a network
namespace still cannot be made, in which the kernel's firewall would be open to whoever made it.

https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#seccomp
https://docs.docker.com/engine/security/seccomp/
"""

from __future__ import annotations

from typing import Any

PROFILE = "kubevirt/passt.json"
"""Below the kubelet's folder of profiles."""
NEW_NETWORK = 0x40000000
NO_SUCH_CALL = 38
REFUSED = (
    *("acct", "add_key", "bpf", "clock_settime", "clock_settime64", "create_module"),
    *("delete_module", "fanotify_init", "finit_module", "fsconfig", "fsmount", "fsopen", "fspick"),
    *("get_kernel_syms", "init_module", "io_uring_enter", "io_uring_register", "io_uring_setup"),
    *("ioperm", "iopl", "kcmp", "kexec_file_load", "kexec_load", "keyctl", "lookup_dcookie"),
    *("mount_setattr", "move_mount", "move_pages", "name_to_handle_at", "nfsservctl"),
    *("open_by_handle_at", "open_tree", "perf_event_open", "process_madvise"),
    *("process_vm_readv", "process_vm_writev", "ptrace", "query_module", "quotactl"),
    *("quotactl_fd", "reboot", "request_key", "setns", "settimeofday", "stime", "swapoff"),
    *("swapon", "sysfs", "syslog", "umount", "uselib", "userfaultfd", "ustat", "vhangup"),
    *("vm86", "vm86old", "vserver"),
)
ARCHITECTURES = {
    "x86_64": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
    "aarch64": ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
    "s390x": ["SCMP_ARCH_S390X", "SCMP_ARCH_S390"],
}


def profile(machine: str) -> dict[str, Any]:
    """`machine`: the node's architecture, as uname tells it."""
    new_network = {
        "index": 0,
        "value": NEW_NETWORK,
        "valueTwo": NEW_NETWORK,
        "op": "SCMP_CMP_MASKED_EQ",
    }
    # Behind a pointer its flags cannot be seen: callers fall back to `clone`.
    unseen = {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": NO_SUCH_CALL}
    return {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ARCHITECTURES.get(machine, []),
        "syscalls": [
            {"names": list(REFUSED), "action": "SCMP_ACT_ERRNO"},
            unseen,
            {"names": ["unshare", "clone"], "action": "SCMP_ACT_ERRNO", "args": [new_network]},
        ],
    }
