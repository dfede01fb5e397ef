"""virtctl create vm: a VirtualMachine from flags.

https://kubevirt.io/user-guide/user_workloads/creating_vms/
"""

from __future__ import annotations

import argparse
import base64
import binascii
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from virtpod.cli import _parameters as parameters
from virtpod.cli.session import Failure

STRATEGIES = ("Always", "Halted", "Manual", "Once", "RerunOnFailure", "WaitAsReceiver")
MEMORY = "512Mi"
KINDS = {
    "instancetype": ("VirtualMachineInstancetype", "VirtualMachineClusterInstancetype"),
    "preference": ("VirtualMachinePreference", "VirtualMachineClusterPreference"),
}
CLOUD_INIT = {"nocloud": "cloudInitNoCloud", "configdrive": "cloudInitConfigDrive", "none": ""}

EXAMPLES = """examples:
  virtctl create vm --name demo --volume-containerdisk src:example.org/fedora:41 \\
      --user fedora --ssh-key "$(cat ~/.ssh/id_ed25519.pub)" | kubectl create -f -
  virtctl create vm --instancetype u1.small --preference fedora \\
      --volume-import type:http,url:https://example.org/disk.qcow2,size:10Gi
  virtctl create vm --memory 1Gi --run-strategy Halted --volume-pvc src:my-claim,bootorder:1
  virtctl create vm --volume-import type:ds,src:images/fedora \\
      --cloud-init-user-data "$(base64 -w0 user-data)"
The volume that boots first says instance type and preference, where its labels name them; give
--infer-instancetype=false, or an instance type of your own, to have it not."""

Json = dict[str, Any]
VOLUME = ("src", "name", "bootorder")
IMPORT = ("type", "size", "name", "bootorder")


@dataclass(frozen=True)
class Source:
    """Of an import: `keys` are flags' names and the API's."""

    at: str
    keys: Mapping[str, str]
    required: tuple[str, ...] = ()
    tells: bool = False
    """Whether instance type and preference can be inferred from its labels."""


_REMOTE = {"url": "url", "secretref": "secretRef", "certconfigmap": "certConfigMap"}
SOURCES = {
    "blank": Source("blank", {}, ("size",)),
    "gcs": Source("gcs", {"url": "url", "secretref": "secretRef"}, ("url", "size")),
    "http": Source("http", _REMOTE, ("url", "size")),
    "imageio": Source("imageio", {**_REMOTE, "diskid": "diskId"}, ("url", "diskid", "size")),
    "registry": Source(
        "registry",
        {**_REMOTE, "imagestream": "imageStream", "pullmethod": "pullMethod"},
        ("size",),
        tells=True,
    ),
    "s3": Source("s3", _REMOTE, ("url", "size")),
    "vddk": Source(
        "vddk",
        {
            "url": "url",
            "secretref": "secretRef",
            "backingfile": "backingFile",
            "initimageurl": "initImageURL",
            "thumbprint": "thumbprint",
            "uuid": "uuid",
        },
        ("size",),
    ),
    "pvc": Source("pvc", {"src": ""}, ("src",), tells=True),
    "snapshot": Source("snapshot", {"src": ""}, ("src",), tells=True),
    "ds": Source("sourceRef", {"src": ""}, ("src",), tells=True),
}


@dataclass
class Volume:
    """What a flag asks for."""

    name: str
    source: Json
    boot: int | None = None
    tells: bool = False
    data_volume: Json | None = None

    def disk(self) -> Json | None:
        """None: that which any volume gets."""
        if "sysprep" in self.source:  # Windows' setup looks for its answers on CDs
            return {"name": self.name, "cdrom": {"bus": "sata"}}
        if self.boot is not None:
            return {"name": self.name, "disk": {}, "bootOrder": self.boot}
        return None


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", default="", help="made up by default")
    parser.add_argument("--run-strategy", default="Always", choices=STRATEGIES)
    parser.add_argument("--termination-grace-period", type=int, default=180, metavar="SECONDS")
    parser.add_argument(
        "--memory", default="", metavar="SIZE", help=f"{MEMORY} unless an instance type says"
    )
    for what in ("instancetype", "preference"):
        parser.add_argument(f"--{what}", default="", metavar="[KIND/]NAME")
        parser.add_argument(
            f"--infer-{what}",
            nargs="?",
            const="true",
            default="",
            choices=("true", "false"),
            help="from the volume that boots first",
        )
        parser.add_argument(f"--infer-{what}-from", default="", metavar="VOLUME")
    repeated = {
        "volume-containerdisk": ("src:IMAGE[,name:,bootorder:]", "an image of a registry"),
        "volume-pvc": ("src:CLAIM[,name:,bootorder:]", "a claim that is there"),
        "volume-import": (
            "type:TYPE[,src:NAMESPACE/NAME,url:,size:,name:,bootorder:]",
            f"a DataVolume; types: {', '.join(SOURCES)}",
        ),
        "volume-blank": ("size:SIZE[,name:]", "deprecated: --volume-import type:blank"),
        "volume-clone-pvc": ("src:NAMESPACE/NAME", "deprecated: --volume-import type:pvc"),
        "volume-datasource": ("src:NAMESPACE/NAME", "deprecated: --volume-import type:ds"),
        "volume-sysprep": ("src:NAME[,type:configmap|secret]", "answers for Windows' setup"),
        "access-cred": (
            "src:SECRET[,type:ssh|password,method:ga|nocloud|configdrive,user:NAME]",
            "keys or passwords of a secret",
        ),
    }
    for flag, (metavar, text) in repeated.items():
        parser.add_argument(
            f"--{flag}", action="append", default=[], metavar=metavar, help=f"{text}; repeatable"
        )
    parser.add_argument(
        "--cloud-init", default="", type=str.lower, choices=("", *CLOUD_INIT), help="how it comes"
    )
    parser.add_argument("--user", default="", help="of cloud-init's")
    parser.add_argument("--password-file", default="", metavar="FILE", help="the user's password")
    parser.add_argument("--ssh-key", action="append", default=[], help="of the user; repeatable")
    parser.add_argument(
        "--ga-manage-ssh", action="store_true", help="let the guest agent change SSH keys"
    )
    parser.add_argument("--cloud-init-user-data", default="", metavar="BASE64")
    parser.add_argument("--cloud-init-network-data", default="", metavar="BASE64")


def run(args: argparse.Namespace) -> int:
    try:
        return parameters.print_yaml(manifest(args))
    except Failure as failure:
        return parameters.told(failure)


def manifest(args: argparse.Namespace) -> Json:
    """Raises Failure."""
    name = parameters.named(args.name, "vm")
    volumes = [*_disks(args, name), *_sysprep(args), *_cloud_init(args)]
    names = [volume.name for volume in volumes]
    for each in names:
        if names.count(each) > 1:
            raise Failure(f"there are two volumes with the name {each}: give one another by name:")
    instance: Json = {
        "domain": {"devices": {}},
        "terminationGracePeriodSeconds": args.termination_grace_period,
    }
    spec: Json = {"runStrategy": args.run_strategy}
    for what in KINDS:
        matcher = _matcher(what, args, volumes)
        if matcher:
            spec[what] = matcher
    if memory := _memory(args, spec.get("instancetype")):
        instance["domain"]["memory"] = {"guest": memory}
    if disks := [disk for volume in volumes if (disk := volume.disk())]:
        instance["domain"]["devices"]["disks"] = disks
    if volumes:
        instance["volumes"] = [{"name": volume.name, **volume.source} for volume in volumes]
    if credentials := [_credential(each) for each in args.access_cred]:
        instance["accessCredentials"] = credentials
    if templates := [volume.data_volume for volume in volumes if volume.data_volume]:
        spec["dataVolumeTemplates"] = templates
    spec["template"] = {"spec": instance}
    metadata = {"name": name, **({"namespace": args.namespace} if args.namespace else {})}
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": metadata,
        "spec": spec,
    }


def _disks(args: argparse.Namespace, vm: str) -> list[Volume]:
    """Those that may boot, in the order in which they are tried."""
    found = []
    for number, text in enumerate(args.volume_containerdisk):
        given = parameters.parsed("volume-containerdisk", text, VOLUME, ("src",))
        name = given.get("name") or f"{vm}-containerdisk-{number}"
        source = {"containerDisk": {"image": given["src"]}}
        found.append(Volume(name, source, _boot("volume-containerdisk", given)))
    for text in args.volume_pvc:
        given = parameters.parsed("volume-pvc", text, VOLUME, ("src",))
        source = {"persistentVolumeClaim": {"claimName": given["src"]}}
        boot = _boot("volume-pvc", given)
        found.append(Volume(given.get("name") or given["src"], source, boot, tells=True))
    for flag, text in _imports(args):
        found.append(_import(flag, text, vm))
    orders = [volume.boot for volume in found if volume.boot is not None]
    if len(orders) != len(set(orders)):
        raise Failure("two volumes have the same bootorder")
    return sorted(found, key=lambda volume: volume.boot or len(found) + max(orders, default=0))


def _imports(args: argparse.Namespace) -> Iterable[tuple[str, str]]:
    for flag, kind, given in (
        ("volume-import", "", args.volume_import),
        ("volume-datasource", "type:ds,", args.volume_datasource),
        ("volume-clone-pvc", "type:pvc,", args.volume_clone_pvc),
        ("volume-blank", "type:blank,", args.volume_blank),
    ):
        yield from ((flag, kind + text) for text in given)


def _import(flag: str, text: str, vm: str) -> Volume:
    kinds = [part.partition(":")[2] for part in text.split(",") if part.startswith("type:")]
    if not kinds or kinds[0] not in SOURCES:
        raise Failure(f'--{flag} "{text}" wants type:, one of {", ".join(SOURCES)}')
    kind = SOURCES[kinds[0]]
    given = parameters.parsed(flag, text, (*IMPORT, *kind.keys), ("type", *kind.required))
    if kinds[0] == "registry" and bool(given.get("url")) == bool(given.get("imagestream")):
        raise Failure(f'--{flag} "{text}" wants url or imagestream, and not both')
    name = given.get("name") or f"{vm}-{kinds[0]}-{parameters.suffix()}"
    storage: Json = {}
    if size := given.get("size"):
        storage = {"resources": {"requests": {"storage": parameters.quantity(flag, size)}}}
    spec: Json = {"storage": storage}
    if "src" in kind.keys:
        namespace, slash, source = given["src"].rpartition("/")
        if not slash and kinds[0] != "ds":
            raise Failure(f'--{flag} "{text}": src is NAMESPACE/NAME')
        reference = {**({"namespace": namespace} if slash else {}), "name": source}
        if kinds[0] == "ds":
            spec["sourceRef"] = {"kind": "DataSource", **reference}
        else:
            spec["source"] = {kind.at: reference}
    else:
        spec["source"] = {
            kind.at: {kind.keys[key]: value for key, value in given.items() if key in kind.keys}
        }
    return Volume(
        name,
        {"dataVolume": {"name": name}},
        _boot(flag, given),
        kind.tells,
        {"metadata": {"name": name}, "spec": spec},
    )


def _boot(flag: str, given: Mapping[str, str]) -> int | None:
    text = given.get("bootorder")
    return parameters.number(flag, "bootorder", text) if text else None


def _sysprep(args: argparse.Namespace) -> list[Volume]:
    if not args.volume_sysprep:
        return []
    if len(args.volume_sysprep) > 1:
        raise Failure("--volume-sysprep may be given once")
    given = parameters.parsed("volume-sysprep", args.volume_sysprep[0], ("src", "type"), ("src",))
    match given.get("type", "configmap").lower():
        case "configmap":
            source = {"configMap": {"name": given["src"]}}
        case "secret":
            source = {"secret": {"name": given["src"]}}
        case other:
            raise Failure(f"--volume-sysprep: type is configmap or secret, not {other}")
    return [Volume("sysprepdisk", {"sysprep": source})]


def _cloud_init(args: argparse.Namespace) -> list[Volume]:
    made = args.user or args.password_file or args.ssh_key or args.ga_manage_ssh
    given = args.cloud_init_user_data
    if made and given:
        raise Failure(
            "--cloud-init-user-data is all of the user data: it goes with none of --user, "
            "--password-file, --ssh-key and --ga-manage-ssh"
        )
    wanted = made or given or args.cloud_init_network_data
    if args.cloud_init == "none" and wanted:
        raise Failure("--cloud-init none leaves out what the other cloud-init flags ask for")
    if args.cloud_init == "none" or not (wanted or args.cloud_init):
        return []
    data = {}
    if given:
        data["userDataBase64"] = _base64("cloud-init-user-data", given)
    elif made:
        data["userData"] = _user_data(args)
    if args.cloud_init_network_data:
        data["networkDataBase64"] = _base64("cloud-init-network-data", args.cloud_init_network_data)
    if not data:
        data["userData"] = "#cloud-config\n"
    return [Volume("cloudinitdisk", {CLOUD_INIT[args.cloud_init or "nocloud"]: data})]


def _user_data(args: argparse.Namespace) -> str:
    import yaml

    config: Json = {}
    if args.user:
        config["user"] = args.user
    if args.password_file:
        try:
            config["password"] = Path(args.password_file).read_text(encoding="utf-8").rstrip("\n")
        except OSError as error:
            raise Failure(f"--password-file {args.password_file}: {error.strerror}") from error
        config["chpasswd"] = {"expire": False}
    if args.ssh_key:
        config["ssh_authorized_keys"] = args.ssh_key
    if args.ga_manage_ssh:
        # SELinux keeps the agent from it otherwise, in guests that have SELinux.
        config["runcmd"] = [["setsebool", "-P", "virt_qemu_ga_manage_ssh", "on"]]
    return "#cloud-config\n" + str(yaml.safe_dump(config, sort_keys=False, width=1000))


def _base64(flag: str, text: str) -> str:
    try:
        base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise Failure(f"--{flag} is not base64: {error}") from error
    return text


def _credential(text: str) -> Json:
    keys = ("src", "type", "method", "user")
    given = parameters.parsed("access-cred", text, keys, ("src",))
    source = {"secret": {"secretName": given["src"]}}
    kind, method = given.get("type", "ssh"), given.get("method", "ga").lower()
    user = given.get("user", "")
    if kind == "password":
        if method != "ga" or user:
            raise Failure(f'--access-cred "{text}": a password goes by method ga, without user')
        return {"userPassword": {"source": source, "propagationMethod": {"qemuGuestAgent": {}}}}
    if kind != "ssh":
        raise Failure(f'--access-cred "{text}": type is ssh or password')
    methods: dict[str, Json] = {
        "ga": {"qemuGuestAgent": {"users": [user]}},
        "nocloud": {"noCloud": {}},
        "configdrive": {"configDrive": {}},
    }
    if method not in methods:
        raise Failure(f'--access-cred "{text}": method is ga, nocloud or configdrive')
    if (method == "ga") != bool(user):
        raise Failure(f'--access-cred "{text}": user goes with method ga, and method ga with user')
    return {"sshPublicKey": {"source": source, "propagationMethod": methods[method]}}


def _matcher(what: str, args: argparse.Namespace, volumes: list[Volume]) -> Json:
    """Of an instance type or a preference: named, or inferred; empty where there is none."""
    named = getattr(args, what)
    infer = getattr(args, f"infer_{what}")
    chosen = getattr(args, f"infer_{what}_from")
    if named:
        if infer == "true" or chosen:
            raise Failure(f"--{what} names one: it is not inferred too")
        return _reference(what, named)
    if chosen:
        found = next((volume for volume in volumes if volume.name == chosen), None)
        if found is None:
            raise Failure(f"--infer-{what}-from: there is no volume {chosen}")
        if not found.tells:
            raise Failure(f"--infer-{what}-from: {chosen} has no labels to infer from")
        return {"inferFromVolume": chosen}
    if infer == "false":
        return {}
    first = volumes[0] if volumes else None
    if infer == "true":
        if first is None or not first.tells:
            raise Failure(
                f"--infer-{what}: the volume that boots first has no labels to infer from; "
                "claims, DataSources, snapshots and registry imports have"
            )
        return {"inferFromVolume": first.name}
    if first is None or not first.tells or (what == "instancetype" and args.memory):
        return {}
    return {"inferFromVolume": first.name, "inferFromVolumeFailurePolicy": "Ignore"}


def _reference(what: str, text: str) -> Json:
    kind, _, name = text.rpartition("/")
    if not kind:
        return {"name": name}
    for known in KINDS[what]:
        short = known.lower().removeprefix("virtualmachine")
        if kind.lower() in (known.lower(), short):
            return {"kind": known, "name": name}
    raise Failure(f"--{what}: kind is one of {', '.join(KINDS[what])}, not {kind}")


def _memory(args: argparse.Namespace, matcher: Json | None) -> str:
    """What the guest gets where no instance type is certain to say."""
    certain = bool(matcher) and "inferFromVolumeFailurePolicy" not in (matcher or {})
    if args.memory and certain:
        raise Failure("--memory is what the instance type says: give one of the two")
    if certain:
        return ""
    return parameters.quantity("memory", args.memory or MEMORY)
