"""What the commands that talk to a cluster share: the client, the namespace, errors as words."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiohttp import ClientWebSocketResponse

    from virtpod.kube.client import Client
    from virtpod.kube.config import Config

BASE = "/apis/subresources.kubevirt.io/v1"
PROTOCOL = "plain.kubevirt.io"
VMS = "virtualmachines"
VMIS = "virtualmachineinstances"
RESOURCES = {
    "vm": VMS,
    "vms": VMS,
    "virtualmachine": VMS,
    "virtualmachines": VMS,
    "vmi": VMIS,
    "vmis": VMIS,
    "virtualmachineinstance": VMIS,
    "virtualmachineinstances": VMIS,
}


class Failure(Exception):
    """Told to the user, without a traceback; the exit code is 1."""


@dataclass(frozen=True)
class Session:
    """An open client, and where the command acts."""

    client: Client
    namespace: str

    def path(self, resource: str, name: str, subresource: str) -> str:
        """Of a subresource."""
        return f"{BASE}/namespaces/{self.namespace}/{resource}/{name}/{subresource}"

    async def put(self, resource: str, name: str, subresource: str, body: dict[str, Any]) -> None:
        """Asks for an action. Raises ApiError."""
        import msgspec

        await self.client.request(
            "PUT",
            self.path(resource, name, subresource),
            body=msgspec.json.encode(body),
            headers={"Content-Type": "application/json"},
        )

    async def get(self, resource: str, name: str, subresource: str) -> Any:
        """What a subresource answers, as JSON. Raises ApiError."""
        import msgspec

        return msgspec.json.decode(await self.fetch(resource, name, subresource))

    async def fetch(self, resource: str, name: str, subresource: str) -> bytes:
        """What a subresource answers. Raises ApiError."""
        reply = await self.client.request("GET", self.path(resource, name, subresource))
        return reply.body

    @asynccontextmanager
    async def stream(
        self, path: str, query: dict[str, str] | None = None
    ) -> AsyncIterator[ClientWebSocketResponse]:
        """A stream. Raises `Refused` where there is none."""
        from virtpod.kube.errors import ApiError

        try:
            async with self.client.websocket(path, protocols=(PROTOCOL,), query=query) as socket:
                yield socket
        except ApiError as error:
            raise Refused(error.status, error.message) from error


class Refused(Failure):
    """A stream that the server does not open."""

    def __init__(self, status: int, reason: str) -> None:
        self.status = status
        self.reason = reason
        match status:
            case 404 if "not found" in reason:
                text = "Virtual Machine not found."
            case 500:
                text = f"Websocket failed due to internal server error. {reason}".rstrip()
            case 0:
                text = reason
            case _:
                text = f"Can't connect to websocket ({status}): {reason}"
        super().__init__(text)


def run(args: argparse.Namespace, act: Callable[[Session], Awaitable[int]]) -> int:
    """Opens a session, lets `act` use it, and turns errors into a message and exit code 1."""
    from virtpod.kube.errors import ApiError

    try:
        return asyncio.run(_with_session(args, act))
    except Failure as failure:
        print(f"error: {failure}", file=sys.stderr)
    except ApiError as error:
        print(f"error: {error.message or error}", file=sys.stderr)
    except KeyboardInterrupt:
        return 130
    return 1


async def _with_session(args: argparse.Namespace, act: Callable[[Session], Awaitable[int]]) -> int:
    from virtpod.kube.client import Client

    try:
        config = configuration(args)
    except (OSError, KeyError, ValueError) as error:
        text = error.args[0] if isinstance(error, KeyError) else error
        raise Failure(f"no cluster to talk to: {text}") from error
    async with Client(config, component=_component()) as client:
        return await act(Session(client, args.namespace or config.namespace))


def configuration(args: argparse.Namespace) -> Config:
    """Where the cluster is and who we are, by the flags. Raises as Config.load does."""
    from dataclasses import replace
    from pathlib import Path

    from virtpod.kube.config import Config

    server: str = args.client_server
    try:
        config = Config.load(context=args.context, kubeconfig=args.kubeconfig)
    except FileNotFoundError:
        if not server or args.kubeconfig or args.context:
            raise
        config = Config(server=server)
    changed: dict[str, Any] = {
        "server": server.rstrip("/"),
        "token": args.client_token,
        "server_name": args.client_tls_server_name,
        "insecure": args.insecure_skip_tls_verify,
    }
    for field, file in (
        ("ca_data", args.client_certificate_authority),
        ("certificate", args.client_client_certificate),
        ("key", args.client_client_key),
    ):
        changed[field] = Path(file).read_text() if file else ""
    headers = [
        ("Impersonate-User", args.client_as),
        ("Impersonate-Uid", args.client_as_uid),
        ("Impersonate-Group", args.client_as_group),
    ]
    changed["impersonated"] = tuple((name, value) for name, value in headers if value)
    return replace(config, **{field: value for field, value in changed.items() if value})


def _component() -> str:
    from virtpod.build import info

    return f"virtctl/{info()['gitVersion']}"


def action(
    args: argparse.Namespace,
    resource: str,
    subresource: str,
    body: dict[str, Any],
    *,
    failed: str,
    done: str,
) -> int:
    """The commands that ask for one thing: `failed` starts the error, `done` is what is printed."""
    from virtpod.kube.errors import ApiError

    async def act(session: Session) -> int:
        try:
            await session.put(resource, args.name, subresource, body)
        except ApiError as error:
            raise Failure(f"{failed} {args.name}: {error.message or error}") from error
        print(done)
        return 0

    return run(args, act)


def dry_run(args: argparse.Namespace) -> dict[str, Any]:
    """The options that `--dry-run` stands for; says so."""
    if not args.dry_run:
        return {}
    print("Dry Run execution")
    return {"dryRun": ["All"]}


def target(kind: str) -> str:
    """The resource that a word like `vmi` means. Raises Failure."""
    resource = RESOURCES.get(kind.lower())
    if resource is None:
        raise Failure(f'unsupported resource type "{kind}": use vm or vmi')
    return resource
