"""virt-operator against the fake API server and a real one, without a kubelet: see tests/kube."""

from tests.kube.conftest import api, apiserver, fake

__all__ = ["api", "apiserver", "fake"]
