"""A real API server without a kubelet: see tests/kube."""

from tests.kube.conftest import apiserver

__all__ = ["apiserver"]
