"""virtctl guestfs PVC: a pod with libguestfs' tools on a claim, and a shell in it."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
from typing import TYPE_CHECKING, Any

from virtpod.cli.session import BASE, Failure, Session
from virtpod.cli.session import run as run_session

if TYPE_CHECKING:
    from virtpod.kube.resources import Key

Json = dict[str, Any]
EXAMPLES = """examples:
  virtctl guestfs my-claim
  echo 'virt-df -h -a /disk/disk.img' | virtctl guestfs my-claim --kvm=false
The claim's file system is at /disk; a claim of volumeMode Block is the device /dev/vda, which only
--root may open on many clusters. The pod goes when the shell ends: leave it by exit or Ctrl+D."""

NAME = "libguestfs-tools"
CONTAINER = "libguestfs"
DISK, DEVICE = "/disk", "/dev/vda"
USER = 107
"""Who machines run as, and so whose their disks are."""
KVM = "devices.kubevirt.io/kvm"
WAIT = 500.0
"""Seconds that the pod has to run: its image may be large."""
PERIOD = 0.5
HOPELESS = frozenset(
    {
        *("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName"),
        *("CreateContainerConfigError", "CreateContainerError", "RunContainerError"),
    }
)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="PVC")
    parser.add_argument("--image", default="", help="with the tools; by default the installation's")
    parser.add_argument(
        "--kvm",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="whether the tools use KVM (the default); without, they are slow, and run anywhere",
    )
    parser.add_argument(
        "--pull-policy", default="IfNotPresent", choices=("IfNotPresent", "Always", "Never")
    )
    parser.add_argument("--root", action="store_true", help="run as root")
    parser.add_argument("--uid", type=int, metavar="UID", help=f"run as that user ({USER})")
    parser.add_argument("--gid", type=int, metavar="GID", help="run as that group")
    parser.add_argument(
        "--fsGroup", type=int, metavar="GID", help="the group that the claim's files are given to"
    )
    parser.add_argument("--vm", default="", help="run where this VM may run")


def run(args: argparse.Namespace) -> int:
    async def act(session: Session) -> int:
        task = asyncio.current_task()
        assert task is not None
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        try:
            await _serve(session, args)
        except asyncio.CancelledError:
            return 130
        return 0

    return run_session(args, act)


async def _serve(session: Session, args: argparse.Namespace) -> None:
    from virtpod.cli._attach import attach
    from virtpod.kube.errors import AlreadyExists, NotFound
    from virtpod.kube.resources import PODS, Key

    client, terminal = session.client, sys.stdin.isatty() and sys.stdout.isatty()
    wanted = await _wanted(session, args, terminal)
    key = Key(session.namespace, wanted["metadata"]["name"])
    try:
        made = await client.create(PODS, wanted, namespace=key.namespace)
    except AlreadyExists:
        raise Failure(
            f"pod {key.name} is left from another time: kubectl delete pod {key.name}"
        ) from None
    try:
        print(f"Waiting for pod {key.name} to run", file=sys.stderr, flush=True)
        await _running(session, key)
        if terminal:
            print("If there is no prompt, press Enter.", file=sys.stderr, flush=True)
        await attach(client, key, CONTAINER, terminal=terminal)
    finally:
        with contextlib.suppress(NotFound):
            await client.delete(PODS, key, uid=made["metadata"]["uid"])


async def _wanted(session: Session, args: argparse.Namespace, terminal: bool) -> Json:
    """The pod, once it is clear that it may be made. Raises Failure, ApiError."""
    from virtpod.kube.resources import PVCS, VMS

    if args.root and (args.uid is not None or args.gid is not None):
        raise Failure("--root is user and group 0: leave --uid and --gid out")
    claim = await session.client.get(PVCS, (session.namespace, args.name))
    user = await _user(session, args.name)
    if user:
        raise Failure(f"PVC {args.name} is used by pod {user}: stop its virtual machine first")
    vm = await session.client.get(VMS, (session.namespace, args.vm)) if args.vm else {}
    return pod(args, args.image or await _image(session), claim, vm, terminal=terminal)


def pod(args: argparse.Namespace, image: str, claim: Json, vm: Json, *, terminal: bool) -> Json:
    """Fit for the restricted Pod Security Standard, unless it is root's."""
    name = claim["metadata"]["name"]
    if (claim.get("spec") or {}).get("volumeMode") == "Block":
        place: Json = {"volumeDevices": [{"name": "volume", "devicePath": DEVICE}]}
    else:
        place = {"volumeMounts": [{"name": "volume", "mountPath": DISK}]}
    place.setdefault("volumeMounts", []).append({"name": "tmp", "mountPath": "/tmp"})
    security = _security(args)
    # root without capabilities could not read others' files.
    rights: Json = {"capabilities": {"drop": ["ALL"]}} if security["runAsNonRoot"] else {}
    template = ((vm.get("spec") or {}).get("template") or {}).get("spec") or {}
    placement = ("nodeSelector", "tolerations", "affinity")
    return {
        "metadata": {"name": f"{NAME}-{name}"},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 1,  # a shell does not end at SIGTERM
            "securityContext": security,
            "volumes": [
                {"name": "volume", "persistentVolumeClaim": {"claimName": name}},
                {"name": "tmp", "emptyDir": {}},
            ],
            "containers": [
                {
                    "name": CONTAINER,
                    "image": image,
                    "imagePullPolicy": args.pull_policy,
                    "command": ["/entrypoint.sh"],
                    "stdin": True,
                    "stdinOnce": True,
                    "tty": terminal,
                    "resources": {"limits": {KVM: "1"}} if args.kvm else {},
                    "securityContext": {"allowPrivilegeEscalation": False, **rights},
                    **place,
                }
            ],
            **{field: template[field] for field in placement if template.get(field)},
        },
    }


def _security(args: argparse.Namespace) -> Json:
    user = 0 if args.root else USER if args.uid is None else args.uid
    group = 0 if args.root else user if args.gid is None else args.gid
    chosen = {
        "runAsUser": user,
        "runAsGroup": group,
        "runAsNonRoot": user != 0,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    return chosen if args.fsGroup is None else {**chosen, "fsGroup": args.fsGroup}


async def _user(session: Session, claim: str) -> str:
    """A pod that has the claim; empty where there is none."""
    from virtpod.kube.resources import PODS

    for each in (await session.client.list(PODS, namespace=session.namespace)).items:
        claims = (
            (volume.get("persistentVolumeClaim") or {}).get("claimName")
            for volume in each["spec"].get("volumes") or ()
        )
        over = (each.get("status") or {}).get("phase") in ("Succeeded", "Failed")
        if not over and claim in claims:
            return str(each["metadata"]["name"])
    return ""


async def _image(session: Session) -> str:
    """The installation's. Raises Failure where it has none."""
    import msgspec

    from virtpod.kube.errors import ApiError

    try:
        reply = await session.client.request("GET", f"{BASE}/guestfs")
    except ApiError as error:
        raise Failure(f"no image: {error.message or error}") from error
    info = msgspec.json.decode(reply.body, type=dict[str, str])
    if info.get("gsImage"):
        return info["gsImage"]
    version = f"@{info['digest']}" if info.get("digest") else f":{info.get('tag', '')}"
    return f"{info.get('registry', '')}/{info.get('imagePrefix', '')}{NAME}{version}"


async def _running(session: Session, key: Key) -> None:
    """Waits. Raises Failure where the pod cannot run, or does not in time."""
    from virtpod.kube.resources import PODS

    why = ""
    try:
        async with asyncio.timeout(WAIT):
            while True:
                status = (await session.client.get(PODS, key)).get("status") or {}
                state, why = _state(status), _why(status)
                if "running" in state:
                    return
                if status.get("phase") in ("Succeeded", "Failed"):
                    raise Failure(f"pod {key.name} ended before it could be used: {why}")
                if (state.get("waiting") or {}).get("reason") in HOPELESS:
                    raise Failure(f"pod {key.name} cannot run: {why}")
                await asyncio.sleep(PERIOD)
    except TimeoutError as error:
        hint = ": --kvm=false does without KVM" if KVM in why else ""
        raise Failure(f"pod {key.name} does not run after {WAIT:g} s: {why}{hint}") from error


def _state(status: Json) -> Json:
    """Of the only container."""
    found = status.get("containerStatuses") or [{}]
    return found[0].get("state") or {}


def _why(status: Json) -> str:
    """What its container or its scheduling says."""
    for each in (*_state(status).values(), *(status.get("conditions") or ())):
        if each.get("message"):
            return str(each["message"])
        if each.get("reason") and each.get("status") != "True":
            return str(each["reason"])
    return str(status.get("message") or status.get("phase") or "no word")
