"""docs/observability.md: what is exported, what to watch, and a runbook for each alert.

The metrics are those of the code itself, which is made to tell all that it can.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import yaml
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import Metric

from virtpod.apiserver.metrics import Metrics
from virtpod.controller import machines, outfit
from virtpod.controller.transitions import Transitions
from virtpod.kube import metrics as shared
from virtpod.node import measures
from virtpod.node.counts import Counts
from virtpod.node.devices import metrics as devices
from virtpod.node.devices.look import Look
from virtpod.render import dashboard, monitoring
from virtpod.wire.messages import GuestFileSystem, Measured


@dataclass(frozen=True)
class Exported:
    """`labels`: of those that have samples here; what a process sets up as it starts has none."""

    name: str
    kind: str
    text: str


HOME_MADE = "process_resident_memory_bytes"
PROCESSES = (
    Exported("kubevirt_configuration_emulation_enabled", "gauge", "Guests may run without KVM."),
    Exported("kubevirt_info", "gauge", "The version that is installed."),
    Exported("kubevirt_virt_handler_ready_status", "gauge", "Whether it can work."),
    Exported("kubevirt_virt_handler_up", "gauge", "virt-handler runs."),
    *(
        Exported(f"kubevirt_{process}_{what}", "gauge", text)
        for process, name in (
            ("virt_controller", "virt-controller"),
            ("virt_operator", "virt-operator"),
        )
        for what, text in (
            ("up", f"{name} runs."),
            ("leading_status", "Whether this replica leads."),
            ("ready_status", "Whether it can work."),
        )
    ),
)
"""Set up in the processes' own `main`; the end-to-end tests see them."""


def exported() -> dict[str, tuple[Exported, ...]]:
    """By the components that export them."""
    registry = CollectorRegistry()
    Transitions(lambda: True, registry)
    counted = CollectorRegistry()
    Counts(counted)
    controller = (
        *registry.collect(),
        *machines.of_vms(()),
        *machines.of_vmis(()),
        machines.of_launchers(()),
        *outfit.of_vms(()),
        *outfit.of_vmis(()),
        *outfit.of_nodes(()),
    )
    everywhere = [each for each in REGISTRY.collect() if each.name.startswith("kubevirt_")]
    assert shared.REQUESTS
    return {
        "virt-controller, by the replica that leads": _of(controller),
        "virt-handler, of the guests of its node": _of(
            (*measures.families("node", [_guest()]), *counted.collect())
        ),
        "virt-handler, of the devices of its node": _of(devices.families(Look(), _nobody)),
        "virt-api": _of(Metrics().registry.collect()),
        "virt-controller, virt-handler and virt-operator": _of(everywhere),
        "Each of its own": PROCESSES,
        "By rules, in Prometheus": tuple(
            Exported(each.name, "record", each.meaning) for each in monitoring.RECORDS
        ),
    }


def names() -> frozenset[str]:
    """As they stand before the labels, a histogram's three included."""
    found = {HOME_MADE}
    for component in exported().values():
        for each in component:
            found.add(each.name)
            if each.kind == "histogram":
                found |= {f"{each.name}_{part}" for part in ("bucket", "count", "sum")}
    return frozenset(found)


def _of(families: Iterable[Metric]) -> tuple[Exported, ...]:
    def made() -> Iterator[Exported]:
        for family in families:
            if family.name.startswith(("process_", "python_")):
                continue
            name = f"{family.name}_total" if family.type == "counter" else family.name
            yield Exported(name, family.type, family.documentation)

    return tuple(sorted(made(), key=lambda each: each.name))


def _nobody(namespace: str, pod: str) -> str:
    return ""


def _guest() -> measures.Guest:
    """One of which everything is known."""
    counted: dict[str, int | str | bool] = {key: 1 for _, key, _, _ in measures.DOMAIN}
    for place, tables in (
        ("vcpu.0.", (measures.VCPU, measures.VCPU_TIME)),
        ("net.0.", (measures.INTERFACE, *measures.TRAFFIC.values())),
        ("block.0.", (measures.BLOCK,)),
    ):
        counted |= {f"{place}{key}": 1 for table in tables for _, key, _, _ in table}
    counted["vcpu.0.state"] = 1
    told = Measured(1, counted, affinity=1)
    return measures.Guest("team", "demo", told, (GuestFileSystem(name="vda1"),), (1, 1, 1))


BEFORE = """\
# Observability

Made by `make docs` from the code that exports the metrics and from
`src/virtpod/render/monitoring.py` and `dashboard.py`.

## Where to read

Each component answers `GET /metrics` on port 8443 with TLS; the Service
`kubevirt-prometheus-metrics` (port `metrics`) stands before all of them. Names and labels are
KubeVirt's where the metric means the same, so that dashboards made for it show Virtpod too; what
KubeVirt has no name for starts with `virtpod_`.

Where the Prometheus operator is (its kinds PrometheusRule and ServiceMonitor), virt-operator makes
one of each in its own namespace, and looks at least every half an hour whether it has come.
`spec.monitorNamespace` of the KubeVirt object, with `spec.monitorAccount` (`prometheus-k8s` where
it is not said), names the Prometheus that gets the right to find the pods. Runbook links begin
with what `virtctl install --runbooks URL`, or `monitoring.runbooks` of the Helm chart, says.

A Prometheus of one's own reads `groups:` of [monitoring/rules.yaml](monitoring/rules.yaml) from a
file; its `scrape_config` wants `honor_labels: true`, for `node`, `namespace` and `name` are those
of guests. The rules name the components' pods by the label `pod`, and scraping by the label `job`
(`kubevirt-prometheus-metrics`), as the Prometheus operator sets them.

[monitoring/dashboard.json](monitoring/dashboard.json) is for Grafana 10 and newer:
Dashboards, New, Import; or, by Helm, `--set monitoring.dashboard=true`, which makes a ConfigMap
that Grafana's side-car finds.

The guests' numbers are asked of their launchers when somebody scrapes, once a second at most; a
launcher that does not answer in five seconds is left out of that answer.

## What else tells

- `virtctl why vm NAME`: why a virtual machine does not run ([why.md](why.md)); the condition
  `Obstructed` has the short form of it.
- Events: `kubectl describe vmi NAME`, one for each transition.
- Logs: a constant message and fields, as text, or as JSON where a component's environment says
  `VIRTPOD_LOG_FORMAT=json`. Every decision of a controller has its `why`. `virtctl adm
  log-verbosity` changes how much is said while components run.
- `/debug/decisions` of virt-controller, virt-handler and virt-operator keeps the last decisions
  with all that they rested on; it answers to the pod itself only (`kubectl port-forward`).
- `virtctl adm bundle` collects all of these in one file, without secrets.
"""


def page() -> str:
    lines = [BEFORE, "## Metrics", ""]
    for component, metrics in exported().items():
        lines += [f"### {component}", "", "| Metric | Type | What it is |", "|---|---|---|"]
        lines += [f"| `{each.name}` | {each.kind} | {each.text} |" for each in metrics]
        lines.append("")
    lines += [
        "## Alerts",
        "",
        "What each means, where to look, and what helps. Namespace `kubevirt` stands for that of",
        "the installation.",
        "",
        monitoring.runbook(),
    ]
    return "\n".join(lines)


def rules() -> str:
    return _yaml(monitoring.rules())


def service_monitor() -> str:
    return _yaml(monitoring.service_monitor())


def grafana() -> str:
    return json.dumps(dashboard.dashboard(), indent=1) + "\n"


def _yaml(manifest: dict[str, object]) -> str:
    text: str = yaml.safe_dump(manifest, sort_keys=False, width=100)
    return f"# Made by `make docs`.\n{text}"
