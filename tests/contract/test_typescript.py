"""Web consoles are written against published TypeScript types: they accept what we return."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.contract.test_round_trip import full
from virtpod.api import catalog, options
from virtpod.api.catalog import every
from virtpod.api.crd import KINDS
from virtpod.api.openapi import definitions

Json = Any
HERE = Path(__file__).parent / "typescript"
GOLDEN = sorted((Path(__file__).parents[1] / "golden").glob("*/*/admitted.yaml"))
PACKAGE = "@kubevirt-ui-ext/kubevirt-api/kubevirt"

UNKNOWN_KINDS = {
    "V1VirtualMachineExport",
    "V1alpha1VirtualMachineBackupTracker",
    "V1alpha1Plugin",
    "V1alpha1QATNodePolicy",
    "V1alpha1QATNodeState",
}
"""Newer than the types, or our own."""
NEWER = {
    ("v1.Interface", "portRanges"),
    ("v1.Network", "resourceClaim"),
    ("v1.VMIMConfigurationOptions", "experimental"),
    ("v1.VMIMConfigurationOptions", "maxDowntimeMs"),
    ("v1.VirtualMachineInstanceBackupStatus", "quiesceStatus"),
    ("v1.VirtualMachineInstanceBackupStatus", "volumes"),
    ("v1.VirtualMachineInstanceSpec", "serviceAccountName"),
    ("v1alpha1.MigrationPolicySpec", "experimental"),
    ("v1alpha1.MigrationPolicySpec", "maxDowntimeMs"),
    ("v1alpha1.VirtualMachineBackupStatus", "exportUID"),
    ("v1alpha1.VirtualMachineBackupStatus", "includedVolumes"),
    ("v1beta1.VirtualMachinePreferenceSpec", "preferredLaunchSecurity"),
}
"""Fields of definitions that are newer than the types, or have been changed since."""
LEFT_OUT = {
    ("k8s.io.api.core.v1.HTTPGetAction", "port"),
    ("k8s.io.api.core.v1.TCPSocketAction", "port"),
    ("k8s.io.apimachinery.pkg.apis.meta.v1.Condition", "observedGeneration"),
    ("k8s.io.apimachinery.pkg.apis.meta.v1.ListMeta", "continue"),
    ("v1.KubeVirtSpec", "configuration"),
    ("v1.MultusNetwork", "default"),
    ("v1.VirtualMachineInstanceStatus", "VSOCKCID"),
    ("v1beta1.VirtualMachinePoolSpec", "maxUnavailable"),
}
"""Those that whatever made the types has not understood; these as well, of all conditions."""
TIMES = ("lastProbeTime", "lastTransitionTime")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the compiler and the types."""
    if not shutil.which("npm"):
        pytest.skip("npm is not installed")
    made = tmp_path_factory.mktemp("typescript")
    for file in HERE.iterdir():
        shutil.copy(file, made)
    command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
    done = subprocess.run(command, cwd=made, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return made


def complaints(place: Path, objects: dict[str, tuple[str, Json]]) -> list[str]:
    """Of the compiler, about objects by name, each of that type."""
    lines = [f'import type * as api from "{PACKAGE}";']
    for number, (name, (kind, value)) in enumerate(objects.items()):
        lines.append(f"// {name}")
        lines.append(f"export const object{number}: api.{kind} = {json.dumps(value, indent=1)};")
    (place / "objects.ts").write_text("\n".join(lines))
    command = ["npx", "--no-install", "tsc", "--pretty", "false"]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=300)
    said = [line for line in done.stdout.splitlines() if line.startswith("objects.ts")]
    assert done.returncode == 0 or said, done.stdout + done.stderr
    return said


def typescript(definition: str) -> str:
    """The name that the types have: V1VirtualMachine for v1.VirtualMachine."""
    version, _, name = definition.rpartition(".")
    return f"{version.capitalize()}{name}"


def test_every_field_of_every_kind(place: Path) -> None:
    known = copy.deepcopy(definitions(every()))
    for definition, field in NEWER | LEFT_OUT:
        known[definition]["properties"].pop(field)
    for definition in known:
        if definition.endswith("Condition"):
            for field in TIMES:
                known[definition]["properties"].pop(field, None)
    names = [catalog.name(kind.type) for kind in KINDS] + [
        catalog.name(cls)
        for cls in (
            options.VirtualMachineInstanceGuestAgentInfo,
            options.VirtualMachineInstanceGuestOSUserList,
            options.VirtualMachineInstanceFileSystemList,
        )
    ]
    wanted = [name for name in names if typescript(name) not in UNKNOWN_KINDS]
    objects = {name: (typescript(name), full(name, known)) for name in wanted}
    wrong = complaints(place, objects)
    assert not wrong, "\n".join(wrong)


def test_instances_as_admitted(place: Path) -> None:
    objects = {
        str(path.parent.relative_to(path.parents[2])): (
            "V1VirtualMachineInstance",
            yaml.safe_load(path.read_text()),
        )
        for path in GOLDEN
    }
    fields = {field for _, field in NEWER | LEFT_OUT}
    wrong = [
        line for line in complaints(place, objects) if not any(f"'\"{f}\"'" in line for f in fields)
    ]
    assert not wrong, "\n".join(wrong)


def test_the_compiler_does_look(place: Path) -> None:
    wrong = {"spec": {"domain": {"devices": {}, "memory": {"guest": 5}}, "no": "such field"}}
    (first, *_) = complaints(place, {"wrong": ("V1VirtualMachineInstance", wrong)})
    assert "TS2353" in first or "TS2322" in first
