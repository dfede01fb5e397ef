"""Where things are: the sources in the repository, all that is made under `.local/images`."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HERE = ROOT / "images"
SOURCE = ROOT / "src" / "virtpod"
PYPROJECT = ROOT / "pyproject.toml"

MADE = ROOT / ".local" / "images"
CACHE = ROOT / ".local" / "cache" / "images"

SUITE = "trixie"
PYTHON = "3.13"  # as the suite has it
SITE_PACKAGES = f"usr/local/lib/python{PYTHON}/dist-packages"
