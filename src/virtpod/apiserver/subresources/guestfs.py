"""GET guestfs: which image has libguestfs' tools, told to any user; `virtctl guestfs` asks."""

from __future__ import annotations

from virtpod.apiserver.status import Refusal

NAME = "libguestfs-tools"
"""As the image is called, behind a prefix that an installation may have."""
MISSING = (
    "this installation names no image with libguestfs' tools: name one by virtctl guestfs --image, "
    "or for all by virtctl install --guestfs-image (python3 -m images push libguestfs-tools "
    "builds it)"
)


def info(image: str) -> dict[str, str]:
    """The reference as a whole, `gsImage`, and its parts. Raises Refusal where there is none."""
    if not image:
        raise Refusal(404, MISSING)
    whole, _, digest = image.partition("@")
    registry, _, last = whole.rpartition("/")
    name, _, tag = last.partition(":")
    return {
        "registry": registry,
        "tag": tag,
        "imagePrefix": name.removesuffix(NAME) if name.endswith(NAME) else "",
        "gsImage": image,
        "digest": digest,
    }
