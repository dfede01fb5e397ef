"""Every domain of the goldens is one that a real libvirt takes: valid by its schema, and defined."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from tests.guest.pod import container
from virtpod.domain import paths

CONFIG = f"{paths.PRIVATE}/libvirt"
GOLDENS = Path(__file__).parent.parent / "golden"
DEFINE = f"""
mkdir -p {CONFIG} {paths.LIBVIRT_RUNTIME}
printf 'unix_sock_dir = "{paths.LIBVIRT_RUNTIME}"\\n' >{CONFIG}/libvirtd.conf
libvirtd -d -f {CONFIG}/libvirtd.conf
for _ in $(seq 100); do [ -S {paths.LIBVIRT_SOCKET} ] && break; sleep 0.1; done
for file in /run/domains/*.xml; do
    name=${{file##*/}}
    if said=$(virsh -q -c "{paths.LIBVIRT_URI}" define --validate "$file" 2>&1); then
        echo "$name taken" >>/run/domains/said
        virsh -q -c "{paths.LIBVIRT_URI}" undefine --nvram default_vm >/dev/null 2>&1
    else
        echo "$name $(echo "$said" | tr '\\n' ' ')" >>/run/domains/said
    fi
done
kill $(cat {paths.LIBVIRT_RUNTIME}/libvirtd.pid 2>/dev/null) || true
"""


def test_libvirt_takes_every_golden_domain(folders: tuple[Path, ...]) -> None:
    drawn = sorted(GOLDENS.glob("*/*/domain.xml"))
    assert len(drawn) > 40
    with container(folders) as made:
        place = made.run / "domains"
        place.mkdir()
        place.chmod(0o777)
        for path in drawn:
            domain = ElementTree.parse(path)
            domain.getroot().set("type", "qemu")  # this host need not have KVM
            domain.write(place / f"{path.parent.parent.name}-{path.parent.name}.xml")
        made.start("sh", "-c", DEFINE)
        made.wait(120)
        said = (place / "said").read_text().splitlines()
    refused = [line for line in said if not line.endswith(" taken")]
    assert not refused, "\n".join(refused)
    assert len(said) == len(drawn)
