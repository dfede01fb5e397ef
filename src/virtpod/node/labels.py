"""Node labels out of what libvirt says about this node and the launcher image's QEMU.

Pure: texts in, labels out. The probe's files come from a container of ours; they are still parsed
with a bound (`probe.LARGEST`) and by a parser that knows no external entities.

Source: https://libvirt.org/formatdomaincaps.html, https://libvirt.org/formatcaps.html
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping
from xml.etree import ElementTree

from virtpod.domain.moving import LABEL

Labels = dict[str, str]

PREFIXES = (
    "cpu-feature.node.kubevirt.io/",
    "cpu-model.node.kubevirt.io/",
    "cpu-model-migration.node.kubevirt.io/",
    "host-model-cpu.node.kubevirt.io/",
    "host-model-required-features.node.kubevirt.io/",
    "cpu-vendor.node.kubevirt.io/",
    "cpu-timer.node.kubevirt.io/",
    "scheduling.node.kubevirt.io/",
    "hyperv.node.kubevirt.io/",
    "machine-type.node.kubevirt.io/",
    LABEL,
)
"""What begins so is ours: it goes where the node no longer has it."""
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "s390x": "s390x"}
NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
OBSOLETE = frozenset(
    f"{model}{suffix}"
    for model in (
        *("486", "pentium", "pentium2", "pentium3", "coreduo", "core2duo", "Conroe", "n270"),
        *("athlon", "phenom", "kvm32", "kvm64", "qemu32", "qemu64"),
    )
    for suffix in ("", "-v1")
)
"""Models that nodes do not offer, whatever QEMU can: they lack what today's systems rest on."""
HYPERV = {"vpindex": "vpindex", "stimer": "synictimer", "reenlightenment": "reenlightenment"}
"""Names where libvirt's and the label's differ."""


def obsolete(given: Mapping[str, bool]) -> frozenset[str]:
    """The models that are, by what the KubeVirt object says of some: false brings one back."""
    more = {model for model, so in given.items() if so}
    return (OBSOLETE - {model for model, so in given.items() if not so}) | more


def labels(
    domain_capabilities: str, capabilities: str, obsolete: Container[str] = OBSOLETE
) -> Labels:
    """The labels; empty texts give none. ValueError where a text is not XML."""
    found: Labels = {}
    domain = _parsed(domain_capabilities)
    host = _parsed(capabilities)
    if host is not None:
        found |= dict(_machines(host))
        found |= dict(_timers(host))
    if domain is not None:
        found |= dict(_cpu(domain, obsolete))
        found |= dict(_hyperv(domain))
        architecture = ARCHITECTURES.get((domain.findtext("arch") or "").strip())
        if architecture:
            found[f"kubevirt.io/vm-arch-{architecture}"] = "true"
    return {name: value for name, value in found.items() if NAME.fullmatch(name.partition("/")[2])}


def deprecated_machines(capabilities: str) -> tuple[str, ...]:
    """Machine types that QEMU means to drop. ValueError where the text is not XML."""
    host = _parsed(capabilities)
    names = [] if host is None else _machine_names(host)
    return tuple(sorted({name for name, deprecated in names if deprecated}))


def difference(have: Mapping[str, str], wanted: Mapping[str, str]) -> dict[str, str | None]:
    """What to merge into a node's labels: new or other values, None for stale ones of ours."""
    change: dict[str, str | None] = {
        name: value for name, value in wanted.items() if have.get(name) != value
    }
    for name in have:
        if name not in wanted and name.startswith(PREFIXES):
            change[name] = None
    return change


def _parsed(text: str) -> ElementTree.Element | None:
    if not text:
        return None
    if "<!DOCTYPE" in text:
        raise ValueError("capabilities with a document type")
    try:
        return ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ValueError(f"capabilities are not XML: {error}") from error


def _machines(capabilities: ElementTree.Element) -> Iterator[tuple[str, str]]:
    for name, _ in _machine_names(capabilities):
        yield f"machine-type.node.kubevirt.io/{name}", "true"


def _machine_names(capabilities: ElementTree.Element) -> Iterator[tuple[str, bool]]:
    """Each of the node's architecture, and whether it is deprecated."""
    host = (capabilities.findtext("host/cpu/arch") or "").strip()
    for guest in capabilities.iterfind("guest"):
        for arch in guest.iterfind("arch"):
            if host and arch.get("name") != host:
                continue
            for machine in arch.iter("machine"):
                for name in (machine.text, machine.get("canonical")):
                    if name:
                        yield name.strip(), machine.get("deprecated") == "yes"


def _timers(capabilities: ElementTree.Element) -> Iterator[tuple[str, str]]:
    for counter in capabilities.iterfind("host/cpu/counter"):
        if counter.get("name") != "tsc":
            continue
        scalable = counter.get("scaling") == "yes"
        yield "cpu-timer.node.kubevirt.io/tsc-scalable", str(scalable).lower()
        frequency = counter.get("frequency") or ""
        if frequency.isdigit():
            yield "cpu-timer.node.kubevirt.io/tsc-frequency", frequency
            yield f"scheduling.node.kubevirt.io/tsc-frequency-{frequency}", "true"


def _cpu(domain: ElementTree.Element, obsolete: Container[str]) -> Iterator[tuple[str, str]]:
    for model in domain.iterfind("cpu/mode[@name='custom']/model"):
        if model.get("usable") == "yes" and model.text and model.text not in obsolete:
            yield f"cpu-model.node.kubevirt.io/{model.text}", "true"
            yield f"cpu-model-migration.node.kubevirt.io/{model.text}", "true"
    host = domain.find("cpu/mode[@name='host-model']")
    if host is None or host.get("supported") != "yes":
        return
    if model_name := host.findtext("model"):
        yield f"host-model-cpu.node.kubevirt.io/{model_name}", "true"
        yield f"cpu-model-migration.node.kubevirt.io/{model_name}", "true"
    if vendor := host.findtext("vendor"):
        yield f"cpu-vendor.node.kubevirt.io/{vendor}", "true"
    for feature in host.iterfind("feature"):
        if feature.get("policy") == "require" and feature.get("name"):
            yield f"cpu-feature.node.kubevirt.io/{feature.get('name')}", "true"
            yield f"host-model-required-features.node.kubevirt.io/{feature.get('name')}", "true"


def _hyperv(domain: ElementTree.Element) -> Iterator[tuple[str, str]]:
    for value in domain.iterfind("features/hyperv/enum[@name='features']/value"):
        if value.text:
            yield f"hyperv.node.kubevirt.io/{HYPERV.get(value.text, value.text)}", "true"
