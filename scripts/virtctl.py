"""docs/virtctl.md: every command and flag, from the parsers themselves."""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Iterator

from virtpod.cli import __main__ as cli

BEFORE = """\
# virtctl

Made by `make docs` from `src/virtpod/cli`.

`virtctl` talks to a cluster as kubectl does: it finds it by `--kubeconfig`, `$KUBECONFIG`,
`~/.kube/config`, or a pod's own account. Commands that only print or explain need none. Exit code 0
is success, 1 an error, which is told on standard error, 130 an interruption.

- **As `kubectl virt`**: where `kubectl-virt` is on PATH, which is the same program; so
  `kubectl virt start demo` is `virtctl start demo`. With `kubectl_complete-virt` on PATH kubectl
  completes its words too.
- **Completion**: `source <(virtctl completion bash)`, likewise zsh, `virtctl completion fish |
  source`, `virtctl completion powershell | Out-String | Invoke-Expression`. It knows commands,
  flags, their values, and the names of machines and namespaces of the cluster.

## All commands take

| Flag | |
|---|---|
"""


def page() -> str:
    lines = [BEFORE.rstrip("\n")]
    shared = cli.Parser()
    cli._add_global(shared)
    lines += [_row(each) for each in shared._actions if each.dest != "help"]
    lines.append("")
    known = {name for each in shared._actions for name in each.option_strings}
    for path in cli.commands():
        lines += list(_command(path, known))
    return "\n".join(lines)


def _command(path: tuple[str, ...], shared: set[str]) -> Iterator[str]:
    parser = cli.parser_for(path)
    own = [each for each in parser._actions if not set(each.option_strings) & shared]
    shown = [each for each in own if each.help != argparse.SUPPRESS]
    places = [each for each in shown if not each.option_strings]
    words = " ".join(_place(each) for each in places)
    required = " ".join(
        f"{each.option_strings[-1]} {_metavar(each)}"
        for each in shown
        if each.option_strings and each.required
    )
    yield f"## {' '.join(path)}"
    yield ""
    yield f"{parser.description}"
    yield ""
    yield f"    {' '.join(filter(None, ('virtctl', *path, words, required, '[flags]')))}"
    yield ""
    flags = [each for each in shown if each.option_strings or each.help or each.choices]
    if flags:
        yield "| | |"
        yield "|---|---|"
        yield from (_row(each) for each in flags)
        yield ""
    if parser.epilog:
        yield "```"
        yield inspect.cleandoc(parser.epilog)
        yield "```"
        yield ""


def _row(action: argparse.Action) -> str:
    name = ", ".join(f"`{each}`" for each in action.option_strings) or f"`{_metavar(action)}`"
    value = ""
    if action.option_strings and action.nargs != 0:
        value = f" `{_metavar(action)}`"
    text = (action.help or "").replace("|", "\\|")
    if action.choices:
        choices = ", ".join(f"`{each}`" for each in action.choices if each != "")
        text = f"{text}{'; ' if text else ''}{choices}"
    return f"| {name}{value.replace('|', chr(92) + '|')} | {text} |"


def _metavar(action: argparse.Action) -> str:
    if action.metavar:
        return str(action.metavar)
    return action.dest.upper().replace("_", "-")


def _place(action: argparse.Action) -> str:
    return f"{_metavar(action)}{'...' if action.nargs == '+' else ''}"


if __name__ == "__main__":
    sys.stdout.write(page())
