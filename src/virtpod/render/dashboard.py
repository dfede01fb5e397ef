"""A Grafana dashboard over the metrics that Virtpod exports.

https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
UID = "virtpod"
WIDTH = 24
TALL = 8
CHOSEN = 'namespace=~"$namespace", name=~"$name"'
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True)
class Query:
    expression: str
    legend: str = ""


@dataclass(frozen=True)
class Panel:
    title: str
    queries: tuple[Query, ...]
    unit: str = "short"
    type: str = "timeseries"
    width: int = 8
    about: str = ""


@dataclass(frozen=True)
class Row:
    title: str
    panels: tuple[Panel, ...]


def _stat(title: str, expression: str, about: str = "") -> Panel:
    return Panel(title, (Query(expression),), type="stat", width=4, about=about)


def _rate(metric: str, by: str, labels: str = "") -> str:
    return f"sum by ({by}) (rate({metric}{{{labels}}}[$__rate_interval]))"


def _slowest(histogram: str, by: str) -> tuple[Query]:
    """The time that 99 in 100 stay below."""
    rate = _rate(f"{histogram}_bucket", f"le, {by}")
    return (Query(f"histogram_quantile(0.99, {rate})", f"{{{{{by}}}}}"),)


def _of_guest(metric: str, more: str = "") -> str:
    by = ", ".join(("namespace", "name", *([more] if more else ())))
    return _rate(f"kubevirt_vmi_{metric}", by, CHOSEN)


def _by_guest(**metrics: str) -> tuple[Query, ...]:
    """By the word that is before the guest's name in the legend."""
    return tuple(Query(_of_guest(metric), f"{word} {GUEST}") for word, metric in metrics.items())


GUEST = "{{namespace}}/{{name}}"
ROWS = (
    Row(
        "Overview",
        (
            _stat("Virtual machines", "sum(kubevirt_number_of_vms)"),
            _stat("Running guests", 'sum(kubevirt_vmi_phase_count{phase="running"})'),
            _stat(
                "In error",
                'count(kubevirt_vm_info{status_group="error"}) or vector(0)',
                "virtctl why tells the reason of each",
            ),
            _stat("Nodes that take guests", "sum(kubevirt_allocatable_nodes)"),
            _stat("Nodes with KVM", "sum(kubevirt_nodes_with_kvm)"),
            _stat("Outdated launchers", "sum(kubevirt_vmi_number_of_outdated)"),
            Panel(
                "Virtual machines by state",
                (Query("count by (status) (kubevirt_vm_info)", "{{status}}"),),
            ),
            Panel(
                "Guests by node",
                (Query("sum by (node) (kubevirt_vmi_phase_count)", "{{node}}"),),
            ),
            Panel(
                "In error, or starting, for how long",
                tuple(
                    Query(
                        f"time() - (kubevirt_vm_{group}_status_last_transition_timestamp_seconds"
                        f"{{{CHOSEN}}} > 0)",
                        f"{group} {GUEST}",
                    )
                    for group in ("error", "starting")
                ),
                "s",
            ),
        ),
    ),
    Row(
        "Guests",
        (
            Panel(
                "CPU",
                (Query(_of_guest("cpu_usage_seconds_total"), GUEST),),
                about="CPUs of the node that guest and hypervisor keep busy",
            ),
            Panel(
                "Waiting for the node's CPUs",
                (Query(_of_guest("vcpu_delay_seconds_total"), GUEST),),
                "percentunit",
            ),
            Panel(
                "Memory",
                (
                    Query(f"kubevirt_vmi_memory_used_bytes{{{CHOSEN}}}", f"used {GUEST}"),
                    Query(f"kubevirt_vmi_memory_domain_bytes{{{CHOSEN}}}", f"has {GUEST}"),
                    Query(f"kubevirt_vmi_memory_resident_bytes{{{CHOSEN}}}", f"holds {GUEST}"),
                ),
                "bytes",
            ),
            Panel(
                "Received and sent",
                (
                    Query(_of_guest("network_receive_bytes_total"), f"in {GUEST}"),
                    Query(_of_guest("network_transmit_bytes_total"), f"out {GUEST}"),
                ),
                "Bps",
            ),
            Panel(
                "Packets lost",
                tuple(
                    Query(
                        _of_guest(f"network_{way}_packets_dropped_total", "interface"),
                        f"{way} {GUEST} {{{{interface}}}}",
                    )
                    for way in ("receive", "transmit")
                ),
                "pps",
            ),
            Panel(
                "Disks: read and written",
                _by_guest(
                    read="storage_read_traffic_bytes_total",
                    written="storage_write_traffic_bytes_total",
                ),
                "Bps",
            ),
            Panel(
                "Disks: operations",
                _by_guest(
                    read="storage_iops_read_total",
                    write="storage_iops_write_total",
                    flush="storage_flush_requests_total",
                ),
                "iops",
            ),
            Panel(
                "Disks: time of a write",
                (
                    Query(
                        f"{_of_guest('storage_write_times_seconds_total')} / "
                        f"{_of_guest('storage_iops_write_total')}",
                        GUEST,
                    ),
                ),
                "s",
            ),
            Panel(
                "File systems",
                (
                    Query(
                        f"kubevirt_vmi_filesystem_used_bytes{{{CHOSEN}}} / "
                        f"(kubevirt_vmi_filesystem_capacity_bytes{{{CHOSEN}}} > 0)",
                        f"{GUEST} {{{{mount_point}}}}",
                    ),
                ),
                "percentunit",
                about="what guest agents tell",
            ),
        ),
    ),
    Row(
        "Connections to guests",
        (
            Panel(
                "Open",
                tuple(
                    Query(f"sum({metric})", what)
                    for metric, what in (
                        ("kubevirt_console_active_connections", "consoles"),
                        ("kubevirt_vnc_active_connections", "VNC"),
                        ("kubevirt_usbredir_active_connections", "USB"),
                        ("kubevirt_portforward_active_tunnels", "tunnels"),
                    )
                ),
                width=WIDTH,
            ),
        ),
    ),
    Row(
        "virt-api",
        (
            Panel(
                "Requests",
                (Query(_rate("virtpod_api_requests_total", "route"), "{{route}}"),),
                "reqps",
            ),
            Panel(
                "Errors of its own",
                (Query(_rate("virtpod_api_requests_total", "route", 'code=~"5.."'), "{{route}}"),),
                "reqps",
            ),
            Panel(
                "Time of 99 in 100",
                _slowest("virtpod_api_request_seconds", "route"),
                "s",
            ),
        ),
    ),
    Row(
        "Controllers",
        (
            Panel(
                "Requests to the API server",
                (
                    Query(
                        _rate("kubevirt_rest_client_requests_total", "pod, verb"),
                        "{{pod}} {{verb}}",
                    ),
                ),
                "reqps",
            ),
            Panel(
                "Requests that failed",
                (
                    Query(
                        _rate(
                            "kubevirt_rest_client_requests_total",
                            "pod, code",
                            'code=~"4..|5..|<error>"',
                        ),
                        "{{pod}} {{code}}",
                    ),
                ),
                "reqps",
                about="404 and 409 are of everyday life",
            ),
            Panel(
                "Answers of the API server: time of 99 in 100",
                _slowest("kubevirt_rest_client_request_latency_seconds", "pod"),
                "s",
            ),
            Panel(
                "Objects in line",
                (
                    Query(
                        "sum by (pod, name) (kubevirt_workqueue_depth)",
                        "{{pod}} {{name}}",
                    ),
                ),
            ),
            Panel(
                "In line: time of 99 in 100",
                _slowest("kubevirt_workqueue_queue_duration_seconds", "name"),
                "s",
            ),
            Panel(
                "Worked on: time of 99 in 100",
                _slowest("kubevirt_workqueue_work_duration_seconds", "name"),
                "s",
            ),
            Panel(
                "Tried again",
                (Query(_rate("kubevirt_workqueue_retries_total", "name"), "{{name}}"),),
                "ops",
            ),
            Panel(
                "Leading",
                tuple(
                    Query(f"sum by (pod) (kubevirt_{each}_leading_status)", "{{pod}}")
                    for each in ("virt_controller", "virt_operator")
                ),
            ),
            Panel(
                "Memory of the components",
                (Query('sum by (pod) (process_resident_memory_bytes{pod=~"virt-.*"})', "{{pod}}"),),
                "bytes",
            ),
        ),
    ),
)


def dashboard() -> Json:
    """For Grafana's import, or a ConfigMap that its side-car reads."""
    return {
        "uid": UID,
        "title": "Virtpod",
        "description": "Virtual machines on Kubernetes, and what runs them",
        "tags": ["kubevirt", "virtpod"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [
                {
                    "name": "datasource",
                    "label": "Prometheus",
                    "type": "datasource",
                    "query": "prometheus",
                },
                _variable("namespace", "label_values(kubevirt_vmi_info, namespace)"),
                _variable("name", 'label_values(kubevirt_vmi_info{namespace=~"$namespace"}, name)'),
            ]
        },
        "panels": list(_panels()),
    }


def queries() -> Iterator[str]:
    """Every expression of the dashboard."""
    for row in ROWS:
        for panel in row.panels:
            for query in panel.queries:
                yield query.expression


def _variable(name: str, query: str) -> Json:
    return {
        "name": name,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def _panels() -> Iterator[Json]:
    number, y = 0, 0
    for row in ROWS:
        number += 1
        place = {"h": 1, "w": WIDTH, "x": 0, "y": y}
        yield {"id": number, "type": "row", "title": row.title, "gridPos": place, "panels": []}
        x, y, height = 0, y + 1, 0
        for panel in row.panels:
            if x + panel.width > WIDTH:
                x, y = 0, y + height
            number, height = number + 1, _height(panel)
            place = {"h": height, "w": panel.width, "x": x, "y": y}
            yield {"id": number, "gridPos": place, **_panel(panel)}
            x += panel.width
        y += height


def _height(panel: Panel) -> int:
    return TALL // 2 if panel.type == "stat" else TALL


def _panel(panel: Panel) -> Json:
    return {
        "type": panel.type,
        "title": panel.title,
        "description": panel.about,
        "datasource": SOURCE,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {
                "refId": chr(ord("A") + place),
                "datasource": SOURCE,
                "expr": query.expression,
                "legendFormat": query.legend,
            }
            for place, query in enumerate(panel.queries)
        ],
    }
