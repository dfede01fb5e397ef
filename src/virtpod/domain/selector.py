"""Kubernetes' label selectors.

https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors
"""

from __future__ import annotations

from collections.abc import Mapping

from virtpod.api.meta import LabelSelector, LabelSelectorRequirement


def selects(selector: LabelSelector | None, labels: Mapping[str, str]) -> bool:
    """Whether labels satisfy all of it. Raises ValueError for an operator that there is not."""
    if selector is None:
        return True
    if any(labels.get(name) != value for name, value in (selector.match_labels or {}).items()):
        return False
    return all(_holds(each, labels) for each in selector.match_expressions or ())


def _holds(demand: LabelSelectorRequirement, labels: Mapping[str, str]) -> bool:
    value, values = labels.get(demand.key), demand.values or ()
    match demand.operator:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
    raise ValueError(f"{demand.operator!r} is no operator: In, NotIn, Exists or DoesNotExist")
