"""QATNodePolicy: a set-up that devices can have. What only the node knows (which models it has, how
many functions a device has room for) the node says, in its QATNodeState."""

from __future__ import annotations

import re
from collections.abc import Iterable

from virtpod.api.qat import QATDeviceSelector, QATNodePolicy, QATNodePolicySpec
from virtpod.domain import qat, qat_rates
from virtpod.features.contract import UNSUPPORTED, Cause
from virtpod.render.rules import Asked, Rules
from virtpod.render.rules._common import one_of

GATE = "QAT"
ADDRESS = re.compile(r"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
NAMES = tuple(model.name for model in qat.MODELS)


def _causes(asked: Asked[QATNodePolicy]) -> Iterable[Cause]:
    spec = asked.new.spec
    selector = spec.device_selector or QATDeviceSelector()
    for name, named in (
        ("addresses", selector.addresses),
        ("models", selector.models),
        ("numaNodes", selector.numa_nodes),
    ):
        if named == []:
            # Left out it would be for all devices, and written so for none: nobody shall guess.
            where = f"spec.deviceSelector.{name}"
            yield Cause(where, f"{where} must name one, or be left out to be for all devices")
    for index, name in enumerate(selector.models or ()):
        yield from one_of(f"spec.deviceSelector.models[{index}]", name, NAMES)
    for index, address in enumerate(selector.addresses or ()):
        if not ADDRESS.fullmatch(address):
            where = f"spec.deviceSelector.addresses[{index}]"
            yield Cause(where, f"{where} {address!r} is no PCI address; write it as 0000:3d:00.0")
    models = [model for model in qat.MODELS if model.name in (selector.models or ())]
    if spec.services is not None:
        if not spec.services:
            yield Cause("spec.services", "spec.services must name a service, or be left out")
        for model in models or (None,):
            if reason := qat.unfit(spec.services, model):
                yield Cause("spec.services", f"spec.services: {reason}", UNSUPPORTED)
                break
    if spec.num_vfs is not None and not 0 <= spec.num_vfs <= qat.MOST_VFS:
        yield Cause("spec.numVFs", f"spec.numVFs must be from 0 to {qat.MOST_VFS}")
    if spec.rate_limits:
        yield from _limits(spec, models)
    yield from one_of("spec.driver", spec.driver, (qat.VFIO, qat.VARIANT))
    if spec.driver == qat.VARIANT:
        for model in models:
            if not model.migratable:
                yield Cause(
                    "spec.driver",
                    f"spec.driver: {qat.VARIANT} does not know {model.name}; use {qat.VFIO}",
                    UNSUPPORTED,
                )
    yield from one_of("spec.allocationPolicy", spec.allocation_policy, ("balanced", "packed"))


def _limits(spec: QATNodePolicySpec, models: Iterable[qat.Model]) -> Iterable[Cause]:
    for model in models:
        if not model.by_service:
            message = f"spec.rateLimits: {model.name} has none; leave them out"
            yield Cause("spec.rateLimits", message, UNSUPPORTED)
            return
    if unfit := qat_rates.unfit(spec.rate_limits or (), spec.services, spec.num_vfs):
        where = f"spec.rateLimits{unfit[0]}"
        yield Cause(where, f"{where}: {unfit[1]}")


def _warnings(asked: Asked[QATNodePolicy]) -> Iterable[str]:
    if GATE not in asked.cluster.gates:
        yield (
            f"feature gate {GATE} is not enabled in the KubeVirt object's "
            "configuration.developerConfiguration.featureGates: no node acts on this policy"
        )
    spec = asked.new.spec
    named = (spec.device_selector or QATDeviceSelector()).models or ()
    denied = [model.name for model in qat.MODELS if model.name in named and model.denied]
    if denied and spec.driver == qat.VFIO:
        yield (
            f"{qat.VFIO} refuses {', '.join(denied)} unless the node loads it with "
            "disable_denylist=1"
        )


RULES = Rules(QATNodePolicy, _causes, warnings=_warnings)
