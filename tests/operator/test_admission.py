"""The webhooks of the KubeVirt object, over HTTP."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from tests.apiserver.test_admission import envelope
from virtpod.kube.resources import Obj
from virtpod.kube.serve import Server
from virtpod.operator.admission import Webhooks

Json = dict[str, Any]


def kubevirt(**spec: Any) -> Obj:
    return {"metadata": {"name": "kubevirt", "namespace": "kubevirt"}, "spec": spec}


async def ask(what: str, review: Any, others: list[Obj] | None = None, guests: int = 0) -> Json:
    async def count() -> int:
        return guests

    routes = Webhooks(lambda: others or [], count).routes()
    async with Server("127.0.0.1", 0, more=routes) as server, aiohttp.ClientSession() as session:
        host, port = server.address
        url = f"http://{host}:{port}/kubevirt-validate-{what}"
        async with session.post(url, json=review) as reply:
            assert reply.status == 200, await reply.text()
            response: Json = (await reply.json())["response"]
    return response


def created(obj: Obj) -> Json:
    return envelope(obj, "KubeVirt")


def deleted(obj: Obj) -> Json:
    return envelope(None, "KubeVirt", operation="DELETE", oldObject=obj)


async def test_the_first_one_is_let_in_and_the_second_is_not() -> None:
    assert (await ask("create", created(kubevirt())))["allowed"] is True
    second = await ask("create", created(kubevirt()), [kubevirt()])
    assert second["allowed"] is False
    assert "Kubevirt is already created: kubevirt/kubevirt" in second["status"]["message"]


async def test_a_change_is_judged_and_a_bad_one_told_by_field() -> None:
    old, new = kubevirt(), kubevirt(infra={"replicas": 0})
    answer = await ask("update", envelope(new, "KubeVirt", operation="UPDATE", oldObject=old))
    (cause,) = answer["status"]["details"]["causes"]
    assert cause["field"] == "spec.infra.replicas"


async def test_what_was_let_in_once_is_not_judged_again_for_a_label() -> None:
    bad = kubevirt(infra={"replicas": 0})
    assert (await ask("update", envelope(bad, "KubeVirt", operation="UPDATE", oldObject=bad)))[
        "allowed"
    ]


async def test_it_stays_while_there_are_machines_if_so_asked() -> None:
    careful = kubevirt(uninstallStrategy="BlockUninstallIfWorkloadsExist")
    kept = await ask("delete", deleted(careful), guests=3)
    assert kept["allowed"] is False
    assert "there are 3 virtual machines and instances" in kept["status"]["message"]
    assert (await ask("delete", deleted(careful), guests=0))["allowed"] is True
    assert (await ask("delete", deleted(kubevirt()), guests=3))["allowed"] is True


@pytest.mark.parametrize("odd", [None, [], {"metadata": 1}, {"spec": {"infra": {"replicas": "x"}}}])
async def test_odd_objects_are_refused_and_break_nothing(odd: Any) -> None:
    assert (await ask("create", created(odd)))["allowed"] is False
