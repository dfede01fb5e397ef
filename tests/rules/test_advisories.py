"""Published mistakes, each with the tests that would have caught it; and those tests that belong to
no single part of the product."""

from __future__ import annotations

import ast
import asyncio
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from tests.rules.test_rules import PLAIN, admission, merged
from virtpod.render import rbac
from virtpod.wire import codec
from virtpod.wire.messages import Reply

ROOT = Path(__file__).parents[2]
TABLE: list[dict[str, Any]] = yaml.safe_load(
    Path(__file__).with_name("advisories.yaml").read_text()
)
NODE = ROOT / "src" / "virtpod" / "node"


@cache
def functions(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text())
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, kinds))


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row["id"])
def test_each_has_tests_that_are_there_or_a_reason(row: dict[str, Any]) -> None:
    assert bool(row.get("tests")) != bool(row.get("none"))
    assert row["what"]
    for test in row.get("tests", ()):
        path, _, name = test.partition("::")
        assert name in functions(path), test


def test_each_is_there_once() -> None:
    ids = [row["id"] for row in TABLE]
    assert len(ids) == len(set(ids))
    assert sum(each.startswith("CVE-") for each in ids) >= 25


# What they had in common.


def pods() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Name, VMI and pod of every golden case."""
    for path in sorted((ROOT / "tests" / "golden").glob("*/*/pod.yaml")):
        vmi = yaml.safe_load(path.with_name("vmi.yaml").read_text())
        yield str(path.parent.name), vmi, yaml.safe_load(path.read_text())


def test_no_guest_s_pod_has_a_folder_of_the_node_without_the_gate() -> None:
    for name, vmi, pod in pods():
        folders = {v["name"] for v in pod["spec"].get("volumes", ()) if "hostPath" in v}
        asked = {v["name"] for v in vmi["spec"].get("volumes", ()) if "hostDisk" in v}
        assert folders <= asked, name
    spec = {"volumes": [{"name": "a", "hostDisk": {"path": "/etc", "type": "DiskOrCreate"}}]}
    causes = admission(merged(dict(PLAIN), {"spec": spec})).causes
    assert any("HostDisk feature gate is not enabled" in cause.message for cause in causes)


def test_a_launcher_may_do_nothing_on_its_node() -> None:
    for name, _, pod in pods():
        spec = pod["spec"]
        assert not {"hostPID", "hostIPC", "hostNetwork"} & spec.keys(), name
        for container in (*spec["containers"], *spec.get("initContainers", ())):
            security = {**spec.get("securityContext", {}), **container["securityContext"]}
            assert security["runAsNonRoot"] is True, name
            assert not security.get("privileged"), name
            assert security["allowPrivilegeEscalation"] is False, name
            assert security["capabilities"]["drop"] == ["ALL"], name
            assert set(security["capabilities"].get("add", ())) <= {"NET_BIND_SERVICE"}, name


def test_a_launcher_has_no_token_unless_asked() -> None:
    for name, vmi, pod in pods():
        asked = "serviceAccountName" in vmi["spec"] or any(
            "serviceAccount" in volume for volume in vmi["spec"].get("volumes", ())
        )
        if not asked:
            assert pod["spec"]["automountServiceAccountToken"] is False, name
            assert "serviceAccountName" not in pod["spec"], name


BAD_PATHS = ("/disk/../../etc/shadow", "disk.img", "/..", "../disk.img", "/a\0b")


@pytest.mark.parametrize("path", BAD_PATHS)
def test_a_path_within_an_image_is_clean(path: str) -> None:
    disk = {"volumes": [{"name": "a", "containerDisk": {"image": "x:1", "path": path}}]}
    fields = {cause.field for cause in admission(merged(dict(PLAIN), {"spec": disk})).causes}
    assert "spec.volumes[0].containerDisk.path" in fields
    for which in ("kernelPath", "initrdPath"):
        container = {"image": "x:1", "kernelPath": "/vmlinuz", which: path}
        boot = {"domain": {"firmware": {"kernelBoot": {"container": container}}}}
        causes = admission(merged(dict(PLAIN), {"spec": boot})).causes
        assert any(cause.field.endswith(which) for cause in causes), (which, causes)


def test_virt_handler_makes_nothing() -> None:
    """But events, and the state of its own node's devices."""
    for rule in rbac.HANDLER.cluster:
        if "create" in rule.verbs:
            assert rule.resources in (("events",), ("qatnodestates",))
    [policy] = [
        each["spec"]
        for each in rbac.policies("kubevirt")
        if each["metadata"]["name"] == "virtpod-qat-restriction-policy"
    ]
    [made] = policy["matchConstraints"]["resourceRules"]
    assert (made["resources"], made["operations"]) == (["qatnodestates"], ["CREATE", "UPDATE"])
    assert "object.metadata.name == variables.node" in policy["validations"][0]["expression"]


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def test_virt_handler_gives_files_away_by_handle_alone() -> None:
    """A device is given by its handle's own link, which has been looked at."""
    known = {("steps/devices.py", "f'/proc/self/fd/{handle}'")}
    for path in NODE.rglob("*.py"):
        for name, call in calls(path):
            if name in ("os.chown", "os.lchown", "os.chmod", "shutil.chown"):
                place = str(path.relative_to(NODE)), ast.unparse(call.args[0])
                assert place in known, place
            assert not name.startswith("shutil."), path


def test_virt_handler_writes_files_in_known_places_alone() -> None:
    """The kernel's settings, and its own seccomp profile in the kubelet's folder."""
    known = {"steps/sysctl.py", "steps/cgroup.py", "seccomp.py"}
    for path in NODE.rglob("*.py"):
        for name, call in calls(path):
            writes = name.endswith((".write_text", ".write_bytes", ".symlink_to", ".hardlink_to"))
            if name == "open" or name.endswith(".open"):
                modes = [each.value for each in call.args if isinstance(each, ast.Constant)]
                writes = any(set(str(mode)) & set("wax+") for mode in modes if mode in MODES)
            assert not writes or str(path.relative_to(NODE)) in known, (path, name)


MODES = ("w", "wb", "a", "ab", "x", "xb", "r+", "r+b", "rb+", "w+", "wb+")


def test_no_message_of_a_launcher_says_whose_it_is() -> None:
    replies = Reply.__args__
    assert replies
    for kind in replies:
        names = {each.name for each in msgspec.structs.fields(kind)}
        assert not {"uid", "vmi", "namespace", "vmi_name", "pod"} & names, kind


async def test_a_message_without_an_end_is_given_up() -> None:
    stream = asyncio.StreamReader()
    stream.feed_data((codec.LIMIT + 1).to_bytes(4, "big"))
    with pytest.raises(codec.TooLarge):
        await codec.read(stream, codec.replies)
