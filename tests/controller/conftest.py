"""virt-controller against the fake API server: see tests/kube."""

from tests.kube.conftest import fake

__all__ = ["fake"]
