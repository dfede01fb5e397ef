"""GET guestfs: the image with libguestfs' tools, or what to do where there is none."""

from __future__ import annotations

import pytest

from tests.apiserver.site import Running
from virtpod.apiserver.status import Refusal
from virtpod.apiserver.subresources import guestfs


@pytest.mark.parametrize(
    ("image", "registry", "prefix", "tag", "digest"),
    [
        ("r.example:5000/vms/libguestfs-tools:v1", "r.example:5000/vms", "", "v1", ""),
        ("r.example/my-libguestfs-tools@sha256:ab", "r.example", "my-", "", "sha256:ab"),
        ("r.example/other:v1@sha256:ab", "r.example", "", "v1", "sha256:ab"),
        ("libguestfs-tools", "", "", "", ""),
    ],
)
def test_the_parts_of_a_reference(
    image: str, registry: str, prefix: str, tag: str, digest: str
) -> None:
    assert guestfs.info(image) == {
        "registry": registry,
        "imagePrefix": prefix,
        "tag": tag,
        "digest": digest,
        "gsImage": image,
    }


def test_no_image_says_how_to_name_one() -> None:
    with pytest.raises(Refusal, match=r"virtctl guestfs --image.*virtctl install --guestfs-image"):
        guestfs.info("")


@pytest.mark.parametrize("version", ["v1", "v1alpha3"])
async def test_anybody_may_ask(api: Running, version: str) -> None:
    url = f"{api.url}/apis/subresources.kubevirt.io/{version}/guestfs"
    async with api.session(api.pki.caller(None)) as session, session.get(url) as reply:
        said = await reply.json()
    assert (reply.status, said["kind"], said["message"]) == (404, "Status", guestfs.MISSING)
    api.guestfs_image = "r.example/libguestfs-tools:v1"
    async with api.session(api.pki.caller(None)) as session, session.get(url) as reply:
        said = await reply.json()
    assert (reply.status, said["gsImage"]) == (200, "r.example/libguestfs-tools:v1")
