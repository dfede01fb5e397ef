"""Every path of a VMI's spec belongs to one feature, or stands on the list of what is to come."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import inspect as types

from virtpod.api.vmi import VirtualMachineInstanceSpec
from virtpod.features import ALL
from virtpod.render.admit import not_yet


def inner(shape: types.Type) -> types.Type:
    while True:
        if isinstance(shape, types.Metadata):
            shape = shape.type
        elif isinstance(shape, types.UnionType):
            given = [t for t in shape.types if not isinstance(t, types.NoneType)]
            if len(given) > 1:
                return shape
            shape = given[0]
        elif isinstance(shape, types.ListType):
            shape = shape.item_type
        else:
            return shape


def below(path: str, above: str) -> bool:
    return path == above or path.startswith(above + ".")


def unclaimed(shape: types.Type, path: str, claims: set[str]) -> Iterator[str]:
    """Paths that no claim covers; a path is opened only where a claim lies below it."""
    if any(below(path, claim) for claim in claims):
        return
    shape = inner(shape)
    within = any(claim.startswith(path + ".") for claim in claims) or not path
    if isinstance(shape, types.StructType) and within:
        for field in shape.fields:
            name = f"{path}.{field.encode_name}" if path else field.encode_name
            yield from unclaimed(field.type, name, claims)
    else:
        yield path


def test_every_path_is_owned_or_on_the_roadmap() -> None:
    claims = {path for feature in ALL for path in feature.owns} | set(not_yet())
    spec = types.type_info(VirtualMachineInstanceSpec)
    assert list(unclaimed(spec, "", claims)) == []


def test_no_path_is_owned_twice() -> None:
    owned = [path for feature in ALL for path in feature.owns] + list(not_yet())
    assert [p for p in owned if sum(below(p, other) for other in owned) > 1] == []


def test_names_are_unique() -> None:
    names = [feature.name for feature in ALL]
    assert len(names) == len(set(names))
