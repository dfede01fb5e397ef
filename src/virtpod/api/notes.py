"""What each field means: the string below it in the source, which costs a running process nothing.

Python throws a string away that stands alone in a class body; whoever writes schemas or pages for
people reads the source once more.
"""

from __future__ import annotations

import ast
import inspect
import sys
from functools import cache
from types import ModuleType


def of(cls: type) -> dict[str, str]:
    """Of a wire type: each field's meaning, by its Python name."""
    return _module(sys.modules[cls.__module__]).get(cls.__name__, {})


@cache
def _module(module: ModuleType) -> dict[str, dict[str, str]]:
    tree = ast.parse(inspect.getsource(module))
    return {each.name: _fields(each) for each in tree.body if isinstance(each, ast.ClassDef)}


def _fields(cls: ast.ClassDef) -> dict[str, str]:
    found = {}
    for field, below in zip(cls.body, cls.body[1:], strict=False):
        match field, below:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                found[name] = " ".join(text.split())
    return found
