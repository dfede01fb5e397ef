"""Why is it not running? What is seen of a VM -> the one true reason, and what to do about it.

Rules in order, each named for its cause; the first that fits is the reason, so the deeper cause
stands before what follows from it. Codes are stable: docs/why.md lists them, made from the rules.
"""

from __future__ import annotations

from virtpod.controllers.why import guest, launcher, machine, placing, storage
from virtpod.controllers.why.case import Case, Diagnosis, Node, Observed, Rule, State, claims_of

__all__ = ["OBSTRUCTED", "RULES", "Diagnosis", "Node", "Observed", "State", "claims_of", "diagnose"]

OBSTRUCTED = "Obstructed"
"""The condition of a VMI, and of its VM, that holds the code and the sentence while it does not
run and the reason is known."""

RULES: tuple[Rule, ...] = (
    *machine.FIRST,
    *launcher.REFUSED,
    *launcher.NODE,
    *storage.CLAIMS,
    *placing.RULES,
    *launcher.POD,
    *storage.MOUNTS,
    *guest.START,
    *guest.ENDS,
    *guest.THERE,
    *machine.WITHOUT,
    *machine.LAST,
)


def diagnose(seen: Observed) -> Diagnosis:
    """The first rule that fits."""
    case = Case(seen)
    for rule in RULES:
        if found := rule(case):
            return found
    return Diagnosis("Unknown", "waits", "Nothing is known of it that would say why.")
