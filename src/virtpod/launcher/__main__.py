"""The first process of a launcher pod."""

from __future__ import annotations

import signal
import sys

# The kernel drops what the first process of a container does not handle yet; blocked, it waits.
# The image's script has blocked them before Python came up; this is for all other ways to start.
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})

# asyncio imports ssl for what it can do with it: 3 MiB and 15 ms that nobody here needs.
sys.modules.setdefault("ssl", None)  # type: ignore[arg-type]

import argparse  # noqa: E402
import asyncio  # noqa: E402
import ctypes  # noqa: E402

PR_SET_NAME = 15


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("virt-launcher", description="Runs one virtual machine.")
    parser.add_argument("--name", default="")
    parser.add_argument("--namespace", default="")
    parser.add_argument("--uid", default="")
    parser.add_argument("--grace-period-seconds", type=int, default=45)
    parser.add_argument("--qemu-timeout", type=int, default=240, metavar="SECONDS")
    parser.add_argument("--hook-sidecars", type=int, default=0, metavar="NUMBER")
    parser.add_argument("--probe", metavar="FOLDER", help="describe this node's QEMU, then end")
    return parser.parse_args()


def main() -> int:
    given = arguments()
    ctypes.CDLL(None).prctl(PR_SET_NAME, b"virt-launcher", 0, 0, 0)
    if given.probe:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT})
        from virtpod.launcher import probe

        return probe.write(given.probe)
    from virtpod.launcher.launcher import Identity, run

    identity = Identity(given.namespace, given.name, given.uid)
    code: int = asyncio.run(
        run(
            identity,
            given.grace_period_seconds,
            given.qemu_timeout,
            side_cars=given.hook_sidecars,
        )
    )
    return code


if __name__ == "__main__":
    sys.exit(main())
