"""Compiles Python's modules once, as a container cannot keep what it compiles itself:
`python3 -I - PREFIX FOLDER... <compile.py`. PREFIX: what their paths begin with here only.

Docstrings and assertions are left out: nobody reads them there, and they are 3 MiB of each process.
The files are named as if they were not, so that every Python of the image finds them.

Source: PEP 488 (names of .pyc files), PEP 552 (unchecked hash-based ones)
"""

import importlib.util
import py_compile
import sys
from pathlib import Path

prefix, *folders = sys.argv[1:]
for folder in folders:
    for module in Path(folder).rglob("*.py"):
        py_compile.compile(
            str(module),
            cfile=importlib.util.cache_from_source(module),
            dfile=str(module).removeprefix(prefix),
            doraise=True,
            optimize=2,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )
