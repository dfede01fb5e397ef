"""Readiness and liveness of the guest, asked by the kubelet as of any container.

What goes over the network is the compute container's own probe: the pod's address leads into the
guest. What only the guest's agent can tell is asked by a program beside the launcher, through its
socket. A guest is let boot ten seconds longer than a container, as users of KubeVirt know it.

https://kubernetes.io/docs/concepts/configuration/liveness-readiness-startup-probes/
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from virtpod.api.vmi import Probe
from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain import paths
from virtpod.domain.facts import Cluster
from virtpod.features.contract import REQUIRED, UNSUPPORTED, Cause, Feature, Json, PodPart

Probes = dict[str, Probe]
"""By their field below spec."""

BOOT = 10
"""Seconds more before the first question."""
SLACK = 1
"""Seconds more for the program that asks the launcher."""
MIB = 2**20
EXEC = 100 * MIB
EACH = 10 * MIB
"""Memory for programs in the guest: KubeVirt's figures, as those of `render.overhead`."""
DEFAULTS = {
    "timeout_seconds": 1,
    "period_seconds": 10,
    "success_threshold": 1,
    "failure_threshold": 3,
}
HANDLERS = ("tcp_socket", "http_get", "exec", "guest_agent_ping")


def asked(vmi: VMI) -> Probes:
    named = {
        "livenessProbe": vmi.spec.liveness_probe,
        "readinessProbe": vmi.spec.readiness_probe,
    }
    return {name: probe for name, probe in named.items() if probe is not None}


def defaults(probes: Probes, vmi: VMI, cluster: Cluster) -> None:
    for probe in probes.values():
        for name, value in DEFAULTS.items():
            if not getattr(probe, name):  # 0 is Kubernetes' word for "not given"
                setattr(probe, name, value)


def validate(probes: Probes, vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    reachable = any(network.pod is not None for network in vmi.spec.networks or ())
    for name, probe in probes.items():
        where = f"spec.{name}"
        given = [handler for handler in HANDLERS if getattr(probe, handler) is not None]
        if not given:
            yield Cause(
                where,
                f"either {where}.tcpSocket, {where}.exec, {where}.httpGet or "
                f"{where}.guestAgentPing must be set if {where} is",
                REQUIRED,
            )
        elif len(given) > 1:
            yield Cause(where, f"{where} must have exactly one of its kinds set")
        if (probe.http_get or probe.tcp_socket) and not reachable:
            yield Cause(where, f"{where} is only allowed if the Pod Network is attached")
        if probe.exec is not None and not probe.exec.command:
            yield Cause(f"{where}.exec.command", f"{where}.exec needs a command", REQUIRED)
        for kind, handler in (("httpGet", probe.http_get), ("tcpSocket", probe.tcp_socket)):
            port = handler.port if handler else None
            if isinstance(port, int) and not 0 < port < 65536:
                yield Cause(f"{where}.{kind}.port", "a port is between 1 and 65535")
        yield from _numbers(where, probe)
    liveness = probes.get("livenessProbe")
    if liveness is None:
        return
    if liveness.success_threshold not in (None, 0, 1):
        yield Cause("spec.livenessProbe.successThreshold", "must be 1 for a liveness probe")
    if vmi.spec.start_strategy == "Paused":
        yield Cause(
            "spec.startStrategy",
            "a guest that starts paused cannot have spec.livenessProbe: it would be ended "
            "before it runs",
            UNSUPPORTED,
        )


def _numbers(where: str, probe: Probe) -> Iterable[Cause]:
    for name in (*DEFAULTS, "initial_delay_seconds"):
        value = getattr(probe, name)
        if value is not None and not 0 <= value < 2**31:
            first, *rest = name.split("_")
            field = first + "".join(word.title() for word in rest)
            yield Cause(f"{where}.{field}", f"{where}.{field} must not be negative")


def pod(probes: Probes, vmi: VMI, cluster: Cluster) -> PodPart:
    programs = sum(1 for probe in probes.values() if probe.exec is not None)
    return PodPart(
        compute={name: _carried(probe) for name, probe in probes.items()},
        overhead=EXEC + EACH * programs if programs else 0,
    )


def _carried(probe: Probe) -> Json:
    """The container's probe."""
    timeout = probe.timeout_seconds or DEFAULTS["timeout_seconds"]
    whole: Json = msgspec.to_builtins(probe)
    whole["initialDelaySeconds"] = (probe.initial_delay_seconds or 0) + BOOT
    question: list[Any] | None = None
    if probe.exec is not None:
        command, *arguments = probe.exec.command or [""]
        question = ["--command", command, "--", *arguments]
    elif probe.guest_agent_ping is not None:
        question = ["--guestAgentPing"]
    if question is not None:
        whole.pop("guestAgentPing", None)
        whole["exec"] = {"command": [paths.PROBE, "--timeoutSeconds", str(timeout), *question]}
        whole["timeoutSeconds"] = timeout + SLACK
    return whole


FEATURE = Feature(
    name="probes",
    owns=("livenessProbe", "readinessProbe"),
    asked=asked,
    defaults=defaults,
    validate=validate,
    pod=pod,
)
