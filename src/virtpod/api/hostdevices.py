"""Devices of the node that a guest may be given: PCI, mediated, USB and GPUs."""

from __future__ import annotations

from msgspec import field

from virtpod.api.base import Wire
from virtpod.api.machine import FeatureState


class ClaimRequest(Wire):
    claim_name: str | None = None
    request_name: str | None = None


class VGPUDisplayOptions(Wire):
    enabled: bool | None = None
    ram_fb: FeatureState | None = field(default=None, name="ramFB")


class VGPUOptions(Wire):
    display: VGPUDisplayOptions | None = None


class GPU(Wire):
    name: str
    claim_name: str | None = None
    device_name: str | None = None
    request_name: str | None = None
    tag: str | None = None
    virtual_gpu_options: VGPUOptions | None = field(default=None, name="virtualGPUOptions")


class HostDevice(Wire):
    name: str
    claim_name: str | None = None
    device_name: str | None = None
    request_name: str | None = None
    tag: str | None = None
