"""Whether this node's kubelet gives containers CPUs of their own.

It does with its static CPU manager, and then names the CPUs that it can give; with any other policy
it names none. Asked with each heartbeat, for a kubelet may begin anew with another policy.

https://kubernetes.io/docs/tasks/administer-cluster/cpu-management-policies/
"""

from __future__ import annotations

from pathlib import Path

from virtpod.node.devices import podresources


async def exclusive(folder: Path) -> bool:
    """`folder` has the kubelet's socket; one that does not answer gives no CPUs."""
    answer = await podresources.allocatable(folder)
    return answer is not None and bool(answer.cpu_ids)
