"""ACPI tables that the user brings along in Secrets: SLIC and MSDM, which hold Windows' licences.

https://libvirt.org/formatdomain.html#acpi-tables
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from virtpod.api.machine import ACPI
from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain import paths
from virtpod.domain.facts import Cluster, Guest
from virtpod.domain.xml import E, Element
from virtpod.features.contract import NOT_FOUND, UNSUPPORTED, Cause, Feature

WHERE = "spec.domain.firmware.acpi"


def asked(vmi: VMI) -> ACPI | None:
    firmware = vmi.spec.domain.firmware
    return firmware.acpi if firmware else None


def named(tables: ACPI) -> Iterator[tuple[str, str, str]]:
    """Field, type of the table, and the volume that it is in."""
    if tables.slic_name_ref:
        yield "slicNameRef", "slic", tables.slic_name_ref
    if tables.msdm_name_ref:
        yield "msdmNameRef", "msdm", tables.msdm_name_ref


def validate(tables: ACPI, vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    volumes = {volume.name: volume for volume in vmi.spec.volumes or ()}
    asked = list(named(tables))
    if not asked:
        yield Cause(WHERE, f"{WHERE} must name a volume in slicNameRef or msdmNameRef")
    elif vmi.spec.architecture == "s390x":
        yield Cause(WHERE, f"{WHERE}: there is no ACPI on s390x; remove it", UNSUPPORTED)
    for field, _, name in asked:
        if name not in volumes:
            message = f"{WHERE}.{field}: there is no volume {name!r}; add one of the secret"
            yield Cause(f"{WHERE}.{field}", message, NOT_FOUND)
        elif volumes[name].secret is None:
            message = f"{WHERE}.{field}: volume {name!r} must be of a secret"
            yield Cause(f"{WHERE}.{field}", message, UNSUPPORTED)


def devices(tables: ACPI, vmi: VMI, facts: Guest) -> Iterable[Element]:
    """Raises OSError where the Secret lacks the table."""
    drawn = []
    for _, kind, name in named(tables):
        file = f"{kind}.bin"
        if name in facts.files and file not in facts.files[name]:
            raise OSError(f"the secret of volume {name} has no {file}: its table must be there")
        drawn.append(E("table", f"{paths.config_folder(name)}/{file}", type=kind))
    yield E("acpi", *drawn)


FEATURE = Feature(
    name="acpi_tables",
    owns=("domain.firmware.acpi",),
    asked=asked,
    validate=validate,
    devices=devices,
)
