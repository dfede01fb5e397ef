"""VirtualMachineTemplates: a VM with parameters in its texts, and what becomes of it.

`${NAME}` stands for a parameter's value within a text; a text that is `${{NAME}}` becomes the value
itself, be it a number or a truth.

https://github.com/kubevirt/virt-template
"""

from __future__ import annotations

import json
import re
import secrets
import string
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from virtpod.cli.session import Failure, Session

Json = dict[str, Any]

GROUP, VERSION = "template.kubevirt.io", "v1beta1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "VirtualMachineTemplate"
PLURAL = "virtualmachinetemplates"
ABSENT = "this cluster serves no such templates: {} is not installed there; --file works without"

NO_KIND = re.compile("could not find the requested resource|page not found")
WITHIN = re.compile(r"\$\{([a-zA-Z0-9_]+)\}")
WHOLE = re.compile(r"\$\{\{([a-zA-Z0-9_]+)\}\}")
GENERATED = re.compile(r"\[([a-zA-Z0-9\-\\]+)\]\{(\d+)\}")
RANGE = re.compile(r"\\[wdaA]|.-.|[a-zA-Z0-9]")
ORDER = string.ascii_letters + string.digits
CLASSES = {
    r"\w": ORDER + "_",
    r"\d": string.digits,
    r"\a": ORDER,
    r"\A": "".join(sorted(set(string.punctuation))),
}
LONGEST = 255


def resource(group: str = GROUP, version: str = VERSION, plural: str = PLURAL) -> Any:
    from virtpod.kube.resources import Resource

    return Resource(group, version, plural, "")


async def stored(session: Session, name: str, what: Any, whose: str = "virt-template") -> Json:
    """A template of the cluster. Raises Failure."""
    from virtpod.kube.errors import ApiError

    try:
        return await session.client.get(what, (session.namespace, name))
    except ApiError as error:
        where = f"{session.namespace}/{name}"
        raise Failure(f"error fetching template {where}: {said(error, whose)}") from error


def said(error: Any, whose: str = "virt-template") -> str:
    """Of an ApiError: that the kind itself is not there says nothing of the object."""
    text = error.message or str(error)
    return ABSENT.format(whose) if error.status == 404 and NO_KIND.search(text) else text


def read(file: str) -> Json:
    """A manifest; "-" is standard input. Raises Failure."""
    import yaml

    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
        found = yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise Failure(f"cannot read {file}: {error}") from error
    if not isinstance(found, dict):
        raise Failure(f"{file} is no manifest")
    return found


def written(what: Any, form: str) -> None:
    if form == "json":
        print(json.dumps(what, indent=1))
        return
    import yaml

    print(yaml.safe_dump(what, sort_keys=False, width=1000), end="")


def processed(template: Json, given: Mapping[str, str]) -> tuple[Json, str]:
    """The VM, and what its template says to the user. Raises Failure."""
    spec = template.get("spec") or {}
    vm = spec.get("virtualMachine")
    if not isinstance(vm, dict) or not vm:
        raise Failure("spec.virtualMachine: the template has none")
    values = _values(spec.get("parameters") or [], given)
    namespace = str((vm.get("metadata") or {}).get("namespace") or "")
    if namespace and not WITHIN.search(namespace):
        # Where the VM comes to is its user's choice.
        metadata = {key: value for key, value in vm["metadata"].items() if key != "namespace"}
        vm = {**vm, "metadata": metadata}
    made = _filled(vm, values)
    message = _text(str(spec.get("message") or ""), values)
    return {**made, "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine"}, message


def _values(parameters: list[Json], given: Mapping[str, str]) -> dict[str, str]:
    """Raises Failure."""
    names = [str(each.get("name") or "") for each in parameters]
    for number, name in enumerate(names):
        if not name or names.index(name) != number:
            raise Failure(f"spec.parameters[{number}].name: {name!r} is empty or there twice")
    for name in given:
        if name not in names:
            raise Failure(f"parameter {name} not found in template; there is {', '.join(names)}")
    values = {}
    for name, each in zip(names, parameters, strict=True):
        value = given.get(name) or str(each.get("value") or "")
        if not value and each.get("generate"):
            if each["generate"] != "expression" or not each.get("from"):
                raise Failure(f"parameter {name}: generate is expression, and needs from")
            value = generated(str(each["from"]))
        if not value and each.get("required"):
            raise Failure(f"parameter {name} is required: --param {name}=VALUE")
        values[name] = value
    return values


def generated(expression: str) -> str:
    """By chance, as "[a-z0-9]{8}" wants it. Raises Failure."""

    def drawn(match: re.Match[str]) -> str:
        length = int(match[2])
        if not 1 <= length <= LONGEST:
            raise Failure(f"{match[0]}: the length is 1 to {LONGEST}")
        letters = sorted({letter for part in RANGE.findall(match[1]) for letter in _letters(part)})
        if not letters:
            raise Failure(f"{match[0]} has no letters to choose from")
        return "".join(secrets.choice(letters) for _ in range(length))

    return GENERATED.sub(drawn, expression)


def _letters(part: str) -> str:
    """Raises Failure."""
    if part in CLASSES:
        return CLASSES[part]
    if len(part) == 1:
        return part
    first, last = ORDER.find(part[0]), ORDER.find(part[2])
    if first < 0 or last < first:
        raise Failure(f"{part} is no range of letters or digits")
    return ORDER[first : last + 1]


def _filled(at: Any, values: Mapping[str, str]) -> Any:
    """Raises Failure."""
    if isinstance(at, dict):
        return {_text(str(key), values): _filled(value, values) for key, value in at.items()}
    if isinstance(at, list):
        return [_filled(each, values) for each in at]
    if not isinstance(at, str):
        return at
    if match := WHOLE.fullmatch(at):
        text = _value(values)(match)
        try:
            return json.loads(text)
        except ValueError:
            return text
    return _text(at, values)


def _text(text: str, values: Mapping[str, str]) -> str:
    """Raises Failure."""
    return WITHIN.sub(_value(values), text)


def _value(values: Mapping[str, str]) -> Callable[[re.Match[str]], str]:
    def found(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise Failure(f"{match[0]} is a parameter that the template does not have")
        return values[match[1]]

    return found
