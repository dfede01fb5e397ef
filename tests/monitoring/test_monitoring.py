"""Alerts and dashboard: PromQL that parses, metrics that are exported, runbooks that are there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import promql_parser
import pytest

from scripts import observability
from scripts.docs import DOCS
from virtpod.render import dashboard, monitoring

OF_OTHERS = frozenset(
    {
        *("up", "apiserver_requested_deprecated_apis", "apiserver_request_total"),
        *("container_memory_rss", "container_memory_working_set_bytes"),
        *("kube_pod_info", "kube_pod_container_resource_requests"),
        *("kube_deployment_spec_replicas", "kube_pod_status_phase"),
        "kube_pod_spec_volumes_persistentvolumeclaims_info",
        "kube_persistentvolumeclaim_resource_requests_storage_bytes",
    }
)
"""Prometheus' own, the API server's, the kubelet's, and kube-state-metrics'."""
EXPRESSIONS = [
    *(each.expression for each in (*monitoring.ALERTS, *monitoring.RECORDS)),
    *dashboard.queries(),
]


def selectors(node: Any) -> Iterator[Any]:
    """Every vector selector of a parsed expression."""
    if isinstance(node, promql_parser.VectorSelector):
        yield node
    for part in ("lhs", "rhs", "expr", "param", "vector_selector", "args"):
        below = getattr(node, part, None)
        for each in below if isinstance(below, list) else [below]:
            if each is not None:
                yield from selectors(each)


def parsed(expression: str) -> Any:
    return promql_parser.parse(expression.replace("$__rate_interval", "5m"))


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_it_parses_and_its_metrics_are_exported(expression: str) -> None:
    found = {selector.name for selector in selectors(parsed(expression))}
    assert found, "an expression without a metric"
    assert found - OF_OTHERS <= observability.names()


@pytest.mark.parametrize("alert", monitoring.ALERTS, ids=lambda alert: alert.name)
def test_an_alert_has_a_runbook(alert: monitoring.Alert) -> None:
    group, _ = monitoring.rules(runbooks="https://docs.example/observability")["spec"]["groups"]
    [rule] = [each for each in group["rules"] if each["alert"] == alert.name]
    url, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert url == "https://docs.example/observability"
    page = (DOCS / "observability.md").read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    assert anchor in [heading.lower().replace(" ", "-") for heading in headings]
    assert re.fullmatch(r"\d+[smhd]", rule["for"])


def test_what_an_alert_says_is_of_labels_that_it_has() -> None:
    """An aggregation keeps no others than it names."""
    for alert in monitoring.ALERTS:
        said = set(re.findall(r"\$labels\.(\w+)", alert.summary))
        by = re.findall(r"by \(([^)]*)\)", alert.expression)
        for kept in by:
            names = {label.strip() for label in kept.split(",")}
            assert said <= names, alert.name
        if said:
            assert "sum(" not in alert.expression, alert.name


def test_records_have_names_that_nothing_else_has() -> None:
    _, group = monitoring.rules()["spec"]["groups"]
    made = [each["record"] for each in group["rules"]]
    assert len(set(made)) == len(made)
    exported = observability.exported()
    exported.pop("By rules, in Prometheus")
    assert not {each.name for every in exported.values() for each in every} & set(made)


def test_panels_do_not_lie_on_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    panels = dashboard.dashboard()["panels"]
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= dashboard.WIDTH
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_names_of_alerts_are_there_once() -> None:
    found = [alert.name for alert in monitoring.ALERTS]
    assert len(found) == len(set(found))
