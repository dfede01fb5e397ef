"""Where pods cannot mount images, a container of the disk's image hands the disk over."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator

import pytest

from tests.e2e.support import (
    SYSTEM,
    Console,
    Namespace,
    Object,
    available,
    kubectl,
    kubevirt,
    phase,
    vmi,
)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def without_image_volumes(cluster: None) -> Iterator[None]:
    before = kubevirt()["spec"].get("configuration", {})
    wanted = copy.deepcopy(before)
    gates = wanted.setdefault("developerConfiguration", {})
    gates["disabledFeatureGates"] = ["ImageVolume"]
    configure(wanted)
    yield
    configure(before)


def configure(configuration: Object) -> None:
    patch = [{"op": "add", "path": "/spec/configuration", "value": configuration}]
    kubectl(
        *("-n", SYSTEM, "patch", "kubevirt", "kubevirt", "--type", "json"),
        *("--patch", json.dumps(patch)),
    )
    available()


def test_a_guest_boots(without_image_volumes: None, namespace: Namespace) -> None:
    namespace.apply(vmi("side-car"))
    found = namespace.running("side-car")
    pod = namespace.launcher(found)
    assert not any("image" in volume for volume in pod["spec"]["volumes"])
    names = [each["name"] for each in pod["spec"]["containers"]]
    assert "compute" in names
    assert len(names) == 2
    with Console(namespace.name, "side-car") as console:
        assert console.login().run("hostname") == "side-car"


def test_it_ends_with_its_guest(without_image_volumes: None, namespace: Namespace) -> None:
    found = namespace.running("side-car")
    pod = namespace.launcher(found)["metadata"]["name"]
    with Console(namespace.name, "side-car") as console:
        console.login()
        console.type("poweroff -f\n")
        console.closed()
    namespace.wait("vmi", "side-car", lambda vmi: phase(vmi) == "Succeeded", "Succeeded")
    namespace.wait("pod", pod, lambda pod: phase(pod) == "Succeeded", "all its containers ended")
    namespace.delete("vmi", "side-car")
