"""virtctl install: virt-operator and a KubeVirt object, applied or printed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from virtpod.cli import session as sessions
from virtpod.cli.session import Failure, Session

if TYPE_CHECKING:
    from virtpod.render.install import Options

EXAMPLES = """examples:
  virtctl install --registry registry.example.org/virtpod --tag v0.1.0
  virtctl install --registry registry.example.org/virtpod --tag v0.1.0 --dry-run > virtpod.yaml
  virtctl install -n machines --registry registry.example.org/virtpod -f kubevirt.yaml
All goes into the namespace kubevirt, or into that which -n names; a second time it brings an
installation up to date. FILE is a KubeVirt object, or its spec, in YAML."""

PARTS = ("all", "operator", "kubevirt")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--registry", default="", metavar="PREFIX", help="of the images' names")
    parser.add_argument("--tag", default="", help="of the images; default: virtctl's own version")
    parser.add_argument("--image", default="", metavar="REFERENCE", help="of the components")
    parser.add_argument("--launcher-image", default="", metavar="REFERENCE", help="of launchers")
    parser.add_argument(
        "--guestfs-image", default="", metavar="REFERENCE", help="for virtctl guestfs, if wanted"
    )
    parser.add_argument(
        "--pull-policy", default="IfNotPresent", choices=("IfNotPresent", "Always", "Never")
    )
    parser.add_argument(
        "--pull-secret", action="append", default=[], metavar="NAME", help="may be repeated"
    )
    parser.add_argument(
        "--replicas", type=int, default=1, metavar="COUNT", help="of virt-operator (1)"
    )
    parser.add_argument(
        "--image-volumes",
        default="auto",
        choices=("auto", "true", "false"),
        help="whether pods mount containerDisks as image volumes; auto finds out (default)",
    )
    parser.add_argument(
        "--emulation", action="store_true", help="guests run where there is no KVM, slowly"
    )
    parser.add_argument(
        "--runbooks", default="", metavar="URL", help="where docs/observability.md is published"
    )
    parser.add_argument("-f", "--filename", default="", metavar="FILE", help="the KubeVirt object")
    parser.add_argument("--dry-run", action="store_true", help="print the manifests only")
    parser.add_argument(
        "--only", default="all", choices=PARTS, help="with --dry-run: one of the two steps"
    )
    parser.add_argument("--no-wait", action="store_true", help="do not wait until all is available")


def run(args: argparse.Namespace) -> int:
    try:
        options, spec = chosen(args), _spec(args)
    except Failure as failure:
        print(f"error: {failure}", file=sys.stderr)
        return 1
    from virtpod.cli import _installation
    from virtpod.render import install

    operator, cr = install.operator_manifests(options), install.kubevirt_cr(options)
    cr["spec"] |= spec
    if args.emulation:
        cr["spec"]["configuration"] = _emulating(cr["spec"]["configuration"])
    if args.dry_run:
        parts = {"all": [*operator, cr], "operator": operator, "kubevirt": [cr]}
        print(_installation.written(parts[args.only]), end="")
        return 0

    async def act(session: Session) -> int:
        from virtpod.kube import apply

        other = await _installation.elsewhere(session.client, options.namespace)
        if other:
            raise Failure(
                f"Virtpod is installed in namespace {other}: name it by -n {other}, "
                f"or take it away before (virtctl uninstall -n {other})"
            )
        await apply.all(session.client, [*operator, cr], manager="virtctl")
        if not args.no_wait:
            await _installation.available(session.client, options, _tell)
        print(f"Virtpod {options.version} is installed in namespace {options.namespace}")
        return 0

    return sessions.run(args, act)


def chosen(args: argparse.Namespace) -> Options:
    """What the flags say. Raises Failure."""
    from virtpod.build import info
    from virtpod.render import install

    version = args.tag or info()["gitVersion"]
    prefix = args.registry.rstrip("/")
    if not prefix and not (args.image and args.launcher_image):
        raise Failure(
            "say by --registry where nodes pull the images from, such as "
            "registry.example.org/virtpod, or name both by --image and --launcher-image"
        )
    if args.replicas < 1:
        raise Failure("--replicas is 1 or more")
    image = args.image or f"{prefix}/virtpod:{version}"
    launcher = args.launcher_image or f"{prefix}/virt-launcher:{version}"
    version = install.version_of(version, *filter(None, (args.image, args.launcher_image)))
    return install.Options(
        image=image,
        launcher_image=launcher,
        guestfs_image=args.guestfs_image,
        namespace=args.namespace or "kubevirt",
        version=version,
        pull_policy=args.pull_policy,
        pull_secrets=tuple(args.pull_secret),
        image_volumes=args.image_volumes,
        replicas=args.replicas,
        runbooks=args.runbooks or install.Options.runbooks,
    )


def _spec(args: argparse.Namespace) -> dict[str, Any]:
    """Of the KubeVirt object in FILE. Raises Failure."""
    if not args.filename:
        return {}
    import yaml

    try:
        text = sys.stdin.read() if args.filename == "-" else Path(args.filename).read_text()
        given = yaml.safe_load(text)
    except (OSError, yaml.YAMLError) as error:
        raise Failure(f"{args.filename}: {error}") from error
    spec = given.get("spec", given) if isinstance(given, dict) else None
    if not isinstance(spec, dict):
        raise Failure(f"{args.filename}: there is no KubeVirt object in it")
    return spec


def _emulating(configuration: dict[str, Any]) -> dict[str, Any]:
    developer = configuration.get("developerConfiguration") or {}
    return {**configuration, "developerConfiguration": {**developer, "useEmulation": True}}


def _tell(text: str) -> None:
    print(text, file=sys.stderr)
