"""GET virtualmachines/NAME/objectgraph, and for VMIs: the objects that a machine stands on."""

from __future__ import annotations

from aiohttp import web

from virtpod.api.graph import ObjectGraphNode, ObjectGraphOptions
from virtpod.apiserver import graph
from virtpod.apiserver.call import Call
from virtpod.apiserver.status import bad_request, json

GATE = "ObjectGraph"


async def vm(call: Call) -> web.Response:
    """With its instance, where there is one."""
    options = await _options(call)
    found = await call.vm()
    instance = await call.site.objects.vmi(call.namespace, call.name)
    return _answer(graph.of_vm(found, instance), options)


async def vmi(call: Call) -> web.Response:
    """Of an instance."""
    options = await _options(call)
    return _answer(graph.of_vmi(await call.vmi()), options)


async def _options(call: Call) -> ObjectGraphOptions:
    if GATE not in call.site.cluster().gates:
        raise bad_request(f"enable the feature gate {GATE} to use this API")
    return await call.options(ObjectGraphOptions)


def _answer(root: ObjectGraphNode, options: ObjectGraphOptions) -> web.Response:
    try:
        return json(graph.shown(root, options))
    except ValueError as error:
        raise bad_request(f"labelSelector.matchExpressions: {error}") from error
