"""Plugin: hooks that can be asked."""

from __future__ import annotations

from collections.abc import Iterable

from virtpod.api.plugin import DomainHook, Plugin
from virtpod.features.contract import REQUIRED, Cause
from virtpod.render.rules import Asked, Rules
from virtpod.render.rules._common import gated


def _causes(asked: Asked[Plugin]) -> Iterable[Cause]:
    spec = asked.new.spec
    yield from gated("Plugins", asked.cluster)
    for index, hook in enumerate(spec.domain_hooks or ()):
        yield from _domain(f"spec.domainHooks[{index}]", hook)
    for index, node in enumerate(spec.node_hooks or ()):
        where = f"spec.nodeHooks[{index}]"
        yield from _socket(f"{where}.socket", node.socket)
        if not node.permitted_hooks:
            yield Cause(
                f"{where}.permittedHooks", f"{where}.permittedHooks must name one", REQUIRED
            )


def _domain(where: str, hook: DomainHook) -> Iterable[Cause]:
    if (hook.cel is None) == (hook.sidecar is None):
        yield Cause(where, f"{where} must have exactly one of cel and sidecar")
    if hook.cel is not None and not hook.cel.expression.strip():
        yield Cause(f"{where}.cel.expression", f"{where}.cel.expression is empty", REQUIRED)
    if hook.sidecar is not None:
        yield from _socket(f"{where}.sidecar.socketPath", hook.sidecar.socket_path)


def _socket(where: str, path: str) -> Iterable[Cause]:
    if not path.startswith("/") or ".." in path.split("/") or "\0" in path:
        yield Cause(where, f"{where} must be an absolute path without '..'")


RULES = Rules(Plugin, _causes)
