"""What installs and takes away Virtpod, for `virtctl` and for the project's own scripts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from virtpod.cli.session import Failure
from virtpod.kube import apply
from virtpod.kube.client import Client
from virtpod.kube.errors import NotFound
from virtpod.kube.resources import CLUSTER_ROLE_BINDINGS, KUBEVIRTS, Key
from virtpod.render import install

SECONDS = 300.0
"""That an installation may take, and a removal."""
OBJECT = "kubevirt"
"""The KubeVirt object's name."""

Told = Callable[[str], None]


def written(objects: Iterable[dict[str, Any]]) -> str:
    """Manifests as kubectl applies them."""
    import yaml

    text: str = yaml.safe_dump_all(objects, sort_keys=False, explicit_start=True)
    return text


async def elsewhere(client: Client, namespace: str) -> str:
    """The other namespace that Virtpod is installed in; "" where none is.

    Half of it belongs to the whole cluster, so there is one at most.
    """
    try:
        bound = await client.get(CLUSTER_ROLE_BINDINGS, ("", install.OPERATOR))
    except NotFound:
        return ""
    subjects = bound.get("subjects") or ()
    homes = sorted({str(each["namespace"]) for each in subjects if each.get("namespace")})
    return next((home for home in homes if home != namespace), "")


async def available(
    client: Client, options: install.Options, told: Told, seconds: float = SECONDS
) -> None:
    """Waits until the KubeVirt object says that just this is there. Raises Failure."""
    last = "there is no KubeVirt object"

    def so(found: dict[str, Any] | None) -> bool:
        nonlocal last
        lack = lacks(found, options) if found else last
        if lack and lack != last:
            told(lack)
        last = lack
        return not lack

    try:
        await apply.wait_for(client, KUBEVIRTS, Key(options.namespace, OBJECT), so, seconds)
    except TimeoutError:
        raise Failure(f"Virtpod was not available after {seconds:.0f} s: {last}") from None


def lacks(kubevirt: dict[str, Any], options: install.Options) -> str:
    """What is still missing; "" where nothing is."""
    status = kubevirt.get("status", {})
    conditions = {c["type"]: c for c in status.get("conditions", [])}
    if status.get("observedGeneration") != kubevirt["metadata"].get("generation"):
        return "virt-operator has not seen the object yet"
    chosen = install.chosen(kubevirt, options)
    wanted = (chosen.version, install.registry_of(chosen.image))
    if (status.get("observedKubeVirtVersion"), status.get("observedKubeVirtRegistry")) != wanted:
        return str(conditions.get("Progressing", {}).get("message", "deploying"))
    ready = conditions.get("Available", {}).get("status") == "True"
    settled = conditions.get("Progressing", {}).get("status") == "False"
    message = str(conditions.get("Available", {}).get("message", "deploying"))
    return "" if ready and settled else message


async def remove(
    client: Client, options: install.Options, told: Told, seconds: float = SECONDS
) -> None:
    """The KubeVirt object first, for only virt-operator can take away what it made; then
    virt-operator and what it stands on. Raises Failure."""
    key = Key(options.namespace, OBJECT)
    last = ""

    def gone(found: dict[str, Any] | None) -> bool:
        nonlocal last
        conditions = ((found or {}).get("status") or {}).get("conditions") or ()
        message = next((c["message"] for c in conditions if c["type"] == "Available"), "")
        if message and message != last:
            told(message)
        last = message
        return found is None

    try:
        await client.delete(KUBEVIRTS, key)
    except NotFound:
        pass
    else:
        try:
            await apply.wait_for(client, KUBEVIRTS, key, gone, seconds)
        except TimeoutError:
            raise Failure(f"Virtpod is still there after {seconds:.0f} s: {last}") from None
    try:
        await apply.delete_all(client, install.operator_manifests(options), seconds)
    except TimeoutError:
        raise Failure(
            f"namespace {options.namespace} was not gone after {seconds:.0f} s: "
            f"`kubectl get namespace {options.namespace} -o yaml` says what keeps it"
        ) from None
