"""The domains of the goldens are valid by libvirt's schema, and a real libvirt takes them."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from tests.guest.pod import container
from virtpod.domain import paths

CONFIG = f"{paths.PRIVATE}/libvirt"
GOLDENS = Path(__file__).parent.parent / "golden"
TDX = GOLDENS / "launch_security" / "tdx"
"""What libvirt in the image is too old for."""
DEFINE = f"""
mkdir -p {CONFIG} {paths.LIBVIRT_RUNTIME}
printf 'unix_sock_dir = "{paths.LIBVIRT_RUNTIME}"\\n' >{CONFIG}/libvirtd.conf
libvirtd -f {CONFIG}/libvirtd.conf &
for _ in $(seq 1000); do [ -S {paths.LIBVIRT_SOCKET} ] && break; sleep 0.05; done
virsh -c "{paths.LIBVIRT_URI}" </run/domains/asked >/run/domains/said 2>&1
kill $!
"""
NO_ENCRYPTION = "not supported with this QEMU binary"

NO_OTHERS = "No emulator found for arch"


def pci_function(folder: Path, address: ElementTree.Element) -> None:
    """As much of it in sysfs as libvirt wants to see before it takes a domain that has it."""
    parts = {key: value.removeprefix("0x") for key, value in address.attrib.items()}
    function = folder / "{domain}:{bus}:{slot}.{function}".format(**parts)
    function.mkdir(parents=True, exist_ok=True)
    (function / "config").write_bytes(bytes(4096))
    (function / "vendor").write_text("0x8086\n")
    (function / "device").write_text("0x4941\n")


def test_libvirt_takes_every_golden_domain(folders: tuple[Path, ...]) -> None:
    drawn = [path for path in sorted(GOLDENS.glob("*/*/domain.xml")) if path.parent != TDX]
    assert len(drawn) > 40
    assert (TDX / "domain.xml").exists()
    encrypted = others = 0
    asked = []
    with container(folders) as made:
        place = made.run / "domains"
        place.mkdir()
        place.chmod(0o777)
        for path in drawn:
            domain = ElementTree.parse(path)
            for address in domain.iterfind("devices/hostdev[@type='pci']/source/address"):
                pci_function(made.run / "pci", address)
            encrypted += domain.find("launchSecurity") is not None
            others += domain.find("os/type[@arch='x86_64']") is None
            domain.getroot().set("type", "qemu")  # this host need not have KVM
            file = f"{path.parent.parent.name}-{path.parent.name}.xml"
            domain.write(place / file)
            asked.append(f"define --validate /run/domains/{file}")
            asked.append(f"undefine --nvram {domain.findtext('name')}")
        (place / "asked").write_text("\n".join([*asked, ""]))
        made.start("sh", "-c", DEFINE)
        made.wait(120)
        said = (place / "said").read_text()
    refusals = [each for each in said.split("virsh # define") if "error:" in each]
    # Other architectures' QEMU is in images of theirs; the schema has been looked at by then.
    foreign = [each for each in refusals if NO_OTHERS in each]
    assert len(foreign) == others, said
    refusals = [each for each in refusals if each not in foreign]
    # What the host's processor has not, libvirt says after it found the rest in order.
    assert all(NO_ENCRYPTION in each for each in refusals), said
    assert len(refusals) <= encrypted, said
    assert said.count("' defined from ") == len(drawn) - len(refusals) - others, said
