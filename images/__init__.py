"""Virtpod's container images, made without any image registry.

The root file system comes from Debian's packages (`debian.py`), above it lie the dependencies
from PyPI and the project's own code (`code.py`); layers (`layers.py`) become OCI images
(`oci.py`), which go into a local cluster or to a registry (`deliver.py`). `catalogue.py` says
what is in which.
"""
