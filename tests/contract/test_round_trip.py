"""Objects with every field set come out of our types as they went in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.contract import facts
from virtpod.api import base, catalog, notes
from virtpod.api.catalog import every
from virtpod.api.openapi import definitions

Json = Any
FOLDER = facts.reference()
FULL = sorted((FOLDER / "objects").glob("*.json")) if FOLDER else []
KINDS = {cls.__name__: cls for cls in every()}


def normal(value: Json) -> bytes:
    """Keys in order, nulls left out as the API server has it, one way to write a number."""
    return json.dumps(_plain(value), sort_keys=True).encode()


def _plain(value: Json) -> Json:
    match value:
        case dict():
            return {key: _plain(each) for key, each in value.items() if each is not None}
        case float() if value.is_integer():
            return int(value)  # 5 and 5.0 are one number
        case list():
            return [_plain(each) for each in value]
    return value


@pytest.mark.skipif(not FULL, reason="VIRTPOD_REFERENCE names no folder with the full data")
@pytest.mark.parametrize("path", FULL, ids=lambda path: path.stem)
def test_the_full_objects_of_the_reference(path: Path) -> None:
    given = json.loads(path.read_bytes())
    again = msgspec.to_builtins(base.decode(given, KINDS[given["kind"]]))
    assert normal(again) == normal(given)


def full(name: str, known: Json, above: tuple[str, ...] = ()) -> Json:
    """Every field of a definition, as deep as a type is not within itself."""
    properties = known[name].get("properties", {})
    return {
        field: filled(schema, known, (*above, name))
        for field, schema in properties.items()
        if not _again(schema, (*above, name))
    }


def _again(schema: Json, above: tuple[str, ...]) -> bool:
    inner = schema.get("items") or schema.get("additionalProperties") or schema
    return inner.get("$ref", "").rpartition("/")[2] in above


def filled(schema: Json, known: Json, above: tuple[str, ...]) -> Json:
    if "$ref" in schema:
        return full(schema["$ref"].rpartition("/")[2], known, above)
    if "x-kubernetes-int-or-string" in schema:
        return "1500m" if "anyOf" in schema else 8080
    match schema["type"]:
        case "array":
            return [filled(schema["items"], known, above)]
        case "object" if "additionalProperties" in schema:
            return {"a": filled(schema["additionalProperties"], known, above)}
        case "object":
            return {"any": [{"thing": 1}]}
        case "string":
            return (schema.get("enum") or ["text"])[0]
        case "boolean":
            return False  # is not the same as left out
        case "integer":
            return 0
        case "number":
            return 0.5
    raise TypeError(schema)


def test_every_field_of_every_type() -> None:
    known = definitions(every())
    for cls in every():
        given = full(catalog.name(cls), known)
        again = msgspec.json.encode(msgspec.json.decode(json.dumps(given), type=cls))
        assert normal(json.loads(again)) == normal(given), cls


@pytest.mark.parametrize("kind", ["VirtualMachineInstance", "VirtualMachine"])
def test_a_status_of_null_is_as_none_at_all(kind: str) -> None:
    spec = {"template": {"spec": {"domain": {"devices": {}}}}}
    spec = spec if kind == "VirtualMachine" else spec["template"]["spec"]
    object_ = base.decode({"kind": kind, "spec": spec, "status": None}, KINDS[kind])
    assert object_ == base.decode({"kind": kind, "spec": spec}, KINDS[kind])


def test_every_field_says_what_it_means() -> None:
    """In one line, and not in the reference's words."""
    theirs: set[str] = set()
    if FOLDER:
        for definition in facts.definitions(FOLDER).values():
            for schema in (definition, *definition.get("properties", {}).values()):
                theirs.add(schema.get("description", "").lower())
    copied = []
    for cls in every():
        meanings = notes.of(cls)
        for field in cls.__struct_fields__:
            meaning = meanings.get(field, "")
            assert meaning.endswith("."), f"{cls.__name__}.{field}: {meaning!r}"
            assert len(meaning) <= 120, meaning
            words = meaning.lower().rstrip(".")
            if len(words.split()) > 5 and any(words in text for text in theirs):
                copied.append(f"{cls.__name__}.{field}: {meaning}")
    assert copied == []
