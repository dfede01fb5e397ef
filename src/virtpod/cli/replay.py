"""virtctl replay FILE: decides again, offline, on what a controller saw.

FILE is what /debug/decisions told (of a bundle: decisions/*.json), or a part of it. Each decision
is a pure function of what was seen, so a plan that differs from the recorded one tells what this
version would do otherwise; the exit code is 1 then.
"""

from __future__ import annotations

import argparse
import datetime
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

EXAMPLES = """examples:
  virtctl adm bundle --vm demo --output demo.tar.gz && tar xzf demo.tar.gz
  virtctl replay demo/decisions/virt-controller-*.json --key team/demo
  virtctl replay incident.json --plan"""

Json = dict[str, Any]
DECIDERS = ("virtpod.controllers.", "virtpod.operator.decide")
"""Whose decisions are replayed: what a file names is imported, so not just anything may be."""


class Unknown(Exception):
    """Not a decision of ours, or one that this version cannot read."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help="- reads a pipe")
    parser.add_argument("--key", default="", metavar="NAMESPACE/NAME", help="of that object only")
    parser.add_argument("--plan", action="store_true", help="show the whole plans, as JSON")


def run(args: argparse.Namespace) -> int:
    import msgspec

    code, count = 0, 0
    for name in args.files:
        try:
            raw = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
            recorded = msgspec.json.decode(raw)
        except (OSError, msgspec.DecodeError) as error:
            print(f"error: {name}: {error}", file=sys.stderr)
            return 1
        # Recorded newest first, told in the order in which it happened.
        for decision in reversed(list(decisions(recorded))):
            if args.key and args.key != about(decision):
                continue
            count += 1
            text, same = replayed(decision, whole=args.plan)
            print(text)
            code |= 0 if same else 1
    if not count:
        print("error: there is no decision to replay", file=sys.stderr)
        return 1
    return code


def decisions(recorded: Any) -> Iterator[Json]:
    """The decisions in one, a list, or what several loops told, by name."""
    if isinstance(recorded, list):
        for each in recorded:
            yield from decisions(each)
    elif isinstance(recorded, dict) and "seen" in recorded:
        yield recorded
    elif isinstance(recorded, dict):
        for each in recorded.values():
            yield from decisions(each)


def about(decision: Json) -> str:
    """NAMESPACE/NAME of the object; virt-handler's keys are uids of pods."""
    key = str(decision.get("key") or "")
    seen = decision.get("seen") or {}
    pod = seen.get("pod") or {}
    if "/" not in key and isinstance(pod, dict) and pod.get("vmi_name"):
        return f"{pod['namespace']}/{pod['vmi_name']}"
    return key


def replayed(decision: Json, *, whole: bool = False) -> tuple[str, bool]:
    """One decision as text, and whether the plan is the recorded one."""
    head = f"{_time(decision.get('at'))} {about(decision)}"
    if decision.get("seen") is None:
        return f"{head}: nothing was seen ({decision.get('outcome', '')})", True
    try:
        plan = decided(decision)
    except Unknown as unknown:
        return f"{head}: cannot be replayed: {unknown}", False
    before = decision.get("plan")
    same = plan == before
    lines = [f"{head}: {plan['why']}", *(f"    {line}" for line in steps(plan))]
    if decision.get("outcome", "done") != "done":
        lines.append(f"    (it came out so: {decision['outcome']})")
    if not same:
        lines.append(f"  recorded was: {(before or {}).get('why', 'no plan')}")
        lines += [f"    {line}" for line in steps(before or {})]
    if whole:
        lines.append(_json(plan))
    return "\n".join(lines), same


def decided(decision: Json) -> Json:
    """The plan of this version on what was seen. Raises Unknown."""
    import importlib

    import msgspec

    from virtpod.kube.loop import plain_plan

    module, _, name = str(decision.get("type") or "").partition(":")
    if not module.startswith(DECIDERS):
        raise Unknown(f"{module or 'it has no type and'} is not a controller's")
    try:
        deciding = importlib.import_module(module)
        seen = msgspec.convert(decision["seen"], getattr(deciding, name))
    except (ImportError, AttributeError, msgspec.ValidationError) as error:
        raise Unknown(str(error)) from error
    plan = plain_plan(deciding.decide(seen))
    again: Json = msgspec.json.decode(msgspec.json.encode(plan))
    return again


def steps(plan: Json) -> list[str]:
    """A line for each action."""
    found = [*(plan.get("actions") or []), *([plan["status"]] if plan.get("status") else [])]
    lines = [_step(action) for action in found]
    if plan.get("again_in") is not None:
        lines.append(f"look again in {plan['again_in']:g} s")
    return lines


def _step(action: Json) -> str:
    import msgspec

    resource = action.get("resource") or {}
    key = action.get("key") or ["", ""]
    what = action.get("do", "?")
    match what:
        case "Event":
            return f"Event {action['type']} {action['reason']}: {action['message']}"
        case "Create":
            metadata = action["body"]["metadata"]
            return f"Create {resource.get('kind')} {metadata.get('name', '')}"
        case "Patch":
            where = f"{resource.get('kind')} {'/'.join(filter(None, key))}"
            below = f"/{action['subresource']}" if action.get("subresource") else ""
            return f"Patch {where}{below}: {_short(action['body'])}"
        case "Delete" | "Evict":
            return f"{what} {resource.get('kind', 'Pod')} {'/'.join(filter(None, key))}"
    rest = {name: value for name, value in action.items() if name != "do"}
    return f"{what} {msgspec.json.encode(rest).decode()}"


def _short(body: Any) -> str:
    """What a patch sets; what it tests only says what it rests on."""
    import msgspec

    if isinstance(body, list):
        sets = [each for each in body if each.get("op") != "test"]
        return " ".join(
            f"{each['path']}={msgspec.json.encode(each.get('value')).decode()}" for each in sets
        )
    return msgspec.json.encode(body).decode()


def _time(at: Any) -> str:
    if not isinstance(at, (int, float)):
        return "-"
    return datetime.datetime.fromtimestamp(at, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _json(value: Any) -> str:
    import msgspec

    return msgspec.json.format(msgspec.json.encode(value)).decode()
