"""The table of facts: each field of the reference's API on a line, without a word of its prose.

    v1.Disk name! string            a required string
    v1.Disk lun v1.LunTarget        another definition of the table
    v1.VirtualMachine status? …     may be null
    …[] map(name)                   a list, and how server-side apply merges it
    string{A|B}                     a closed set of values

The same function reduces the reference's document and ours, so the two compare line by line.
`VIRTPOD_REFERENCE=… python -m tests.contract.facts` writes the table anew from the full data.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

Json = dict[str, Any]

TABLE = Path(__file__).parent / "facts.txt"
DOCUMENT = "kubevirt-v1.9-swagger.json"
META = "k8s.io.apimachinery.pkg.apis.meta.v1."
SCALARS = {
    f"{META}Time": "time",
    f"{META}Duration": "string",
    f"{META}FieldsV1": "object",
    "k8s.io.apimachinery.pkg.api.resource.Quantity": "quantity",
    "k8s.io.apimachinery.pkg.runtime.RawExtension": "object",
    "k8s.io.apimachinery.pkg.util.intstr.IntOrString": "int-or-string",
}
"""Definitions that are no objects."""


def reference() -> Path | None:
    """The folder of the full data, where there is one."""
    folder = os.environ.get("VIRTPOD_REFERENCE")
    return Path(folder) if folder else None


def definitions(folder: Path) -> Json:
    document: Json = json.loads((folder / DOCUMENT).read_text())
    return dict(document["definitions"])


def facts(given: Json) -> list[str]:
    """The lines of a document's definitions, in order."""
    lines = []
    for name, definition in given.items():
        if name in SCALARS:
            continue
        lines.append(name)
        required = definition.get("required") or ()
        for field, schema in (definition.get("properties") or {}).items():
            marks = "!" * (field in required) + "?" * _nullable(schema, given)
            lines.append(f"{name} {field}{marks} {_type(schema)}")
    return sorted(lines)


def _nullable(schema: Json, given: Json) -> bool:
    referred = given.get(schema.get("$ref", "").rpartition("/")[2]) or {}
    return bool(
        schema.get("nullable") or referred.get("nullable") or "null" in (schema.get("type") or "")
    )


def _type(schema: Json) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return SCALARS.get(name, name)
    if "anyOf" in schema:
        return "quantity"
    kind = schema.get("type")
    if "x-kubernetes-int-or-string" in schema or kind == ["string", "number"]:
        return "int-or-string"
    if kind == ["string", "null"] or schema.get("format") == "date-time":
        return "time"  # the reference's conditions: times that Go may write as null
    if kind == "array":
        keys = ",".join(schema.get("x-kubernetes-list-map-keys") or ())
        merge = schema.get("x-kubernetes-list-type") or ""
        return f"{_type(schema['items'])}[] {merge}{f'({keys})' if keys else ''}".rstrip()
    if kind == "object" and (values := schema.get("additionalProperties")):
        return f"map of {_type(values)}"
    if kind == "integer" and schema.get("format") in ("int32", "int64"):
        return str(schema["format"])
    choices = "|".join(sorted(schema.get("enum") or ()))
    return f"{kind}{{{choices}}}" if choices else str(kind)


if __name__ == "__main__":
    if (folder := reference()) is None:
        raise SystemExit("VIRTPOD_REFERENCE names no folder")
    TABLE.write_text("\n".join(facts(definitions(folder))) + "\n")
