"""Devices of the node that a guest may be given: PCI, mediated, USB and GPUs."""

from __future__ import annotations

from msgspec import field

from virtpod.api.base import Wire
from virtpod.api.machine import FeatureState


class ClaimRequest(Wire):
    claim_name: str | None = None
    """Claim of the spec's resourceClaims."""
    request_name: str | None = None
    """Request of that claim."""


class VGPUDisplayOptions(Wire):
    enabled: bool | None = None
    """Whether the GPU drives the display; true by default."""
    ram_fb: FeatureState | None = field(default=None, name="ramFB")
    """A frame buffer for the time before the GPU's driver is there."""


class VGPUOptions(Wire):
    display: VGPUDisplayOptions | None = None
    """Whether the GPU drives the display."""


class GPU(Wire):
    name: str
    """Name of the device."""
    claim_name: str | None = None
    """Claim of the spec's resourceClaims."""
    device_name: str | None = None
    """Resource name that the node's device plugin serves."""
    request_name: str | None = None
    """Request of that claim."""
    tag: str | None = None
    """Tag that the guest reads in its metadata."""
    virtual_gpu_options: VGPUOptions | None = field(default=None, name="virtualGPUOptions")
    """Options of virtual GPUs."""


class HostDevice(Wire):
    name: str
    """Name of the device."""
    claim_name: str | None = None
    """Claim of the spec's resourceClaims."""
    device_name: str | None = None
    """Resource name that the node's device plugin serves."""
    request_name: str | None = None
    """Request of that claim."""
    tag: str | None = None
    """Tag that the guest reads in its metadata."""
