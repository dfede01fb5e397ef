"""What is wrong with the launcher's pod: refused, not pulled, not started, failed."""

from __future__ import annotations

import re
from typing import Any

from virtpod.controllers.why.case import Case, Found, Rule, condition, ended, line, rule, seconds
from virtpod.features.network._addresses import ASKED, plain, read
from virtpod.kube.resources import Obj

PULLING = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")
NOT_CREATED = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")
ADMISSION = ("UnexpectedAdmissionError", "NodeAffinity", "OutOf", "NodePorts", "Pod")
LINES = 12
"""Last lines of a log that are evidence."""

_PULLS = (
    (
        ("unauthorized", "forbidden", "denied", "authentication"),
        "not allowed",
        "Give the registry's credentials: the volume's containerDisk.imagePullSecret.",
    ),
    (
        ("not found", "manifest unknown", "name unknown"),
        "not found",
        "Correct the image's name or tag, or push it.",
    ),
    (
        ("x509", "certificate", "tls"),
        "its registry's certificate is not trusted",
        "Make the nodes' container runtime trust the registry's certificate authority.",
    ),
    (
        ("no such host", "timeout", "connection refused", "unreachable", "dial tcp", "eof"),
        "its registry cannot be reached from the node",
        "Look whether the registry runs and the node reaches it.",
    ),
    (
        ("no space left",),
        "the node's disk is full",
        "Make room on the node: remove images that nobody uses, or give it a larger disk.",
    ),
    (
        ("invalidimagename", "invalid reference", "couldn't parse image"),
        "that is no image's name",
        "Correct the image's name.",
    ),
)
"""Words in a message, what they mean, what to do; the first that fits."""


def refusal(case: Case) -> str:
    """Why the API server does not take the pod, or the VMI."""
    if case.seen.refusal:
        return case.seen.refusal
    told = case.not_synchronized
    if case.vmi is not None:
        refused = told.get("reason") == "FailedCreate" and not case.pod and case.scheduling
        return str(told.get("message") or "") if refused else ""
    failure = condition(case.seen.vm or {}, "Failure") or {}
    if failure.get("status") == "True" and failure.get("reason") == "FailedCreate":
        return str(failure.get("message") or "")
    return ""


def _refused(case: Case, sentence: str) -> Found:
    return Found(ended(sentence), "", (refusal(case),), case.vmi_reference())


@rule(
    "InstancetypeNotFound",
    "broken",
    "Create it, or name another one in the VM: kubectl get vmf,vmcf,vmp,vmcp lists them.",
)
def instancetype_not_found(case: Case) -> Found | None:
    """The instance type or the preference that the VM takes is not there, or does not fit."""
    failure = condition(case.seen.vm or {}, "Failure") or {}
    reasons = ("FailedFindInstancetype", "FailedFindPreference", "FailedExpand")
    if case.vmi is not None or failure.get("reason") not in reasons:
        return None
    return Found(ended(str(failure.get("message") or "")), "", (), case.vmi_reference())


@rule(
    "QuotaExceeded",
    "broken",
    "Stop something else in the namespace, ask for less, or raise the quota: "
    "kubectl describe quota.",
)
def quota_exceeded(case: Case) -> Found | None:
    """The namespace's ResourceQuota leaves no room for it."""
    match = re.search(r"exceeded quota: ([^,]+)(.*)", refusal(case))
    if match is None:
        return None
    return _refused(case, f"The ResourceQuota {match[1]} leaves no room for it{match[2]}")


@rule(
    "PodSecurityRefused",
    "broken",
    "Let the namespace take such pods: label it pod-security.kubernetes.io/enforce=privileged or "
    "baseline.",
)
def pod_security_refused(case: Case) -> Found | None:
    """The namespace's pod security level does not allow the launcher's pod."""
    if "violates PodSecurity" not in refusal(case):
        return None
    return _refused(case, f"The namespace's pod security level refuses its pod: {refusal(case)}")


@rule(
    "Refused",
    "broken",
    "Correct what it names, or have the policy changed that forbids it; it is tried again.",
)
def refused(case: Case) -> Found | None:
    """The API server does not take the VMI or its pod: a policy, a limit range, a webhook."""
    text = refusal(case)
    return _refused(case, f"The API server refuses it: {text}") if text else None


@rule("ImagePull", "broken", "Look whether the image is there and the node may have it.")
def image_pull(case: Case) -> Found | None:
    """An image, of a container disk or of the launcher, cannot be pulled."""
    if not case.scheduling:
        return None
    for container in case.containers:
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") in PULLING:
            return _pull(case, container, waiting)
    return None


def _pull(case: Case, container: Obj, waiting: dict[str, Any]) -> Found:
    message = str(waiting.get("message") or waiting["reason"])
    events = [
        event for event in case.pod_events("Failed") if "pull" in str(event.get("message")).lower()
    ]
    everything = f"{waiting['reason']} {message} {' '.join(str(e.get('message')) for e in events)}"
    image = _image(container, message)
    because, remedy = next(
        (
            (meaning, remedy)
            for words, meaning, remedy in _PULLS
            if any(word in everything.lower() for word in words)
        ),
        (message, ""),
    )
    what = _whose(case, container["name"], image)
    evidence = (f"{container['name']}: {waiting['reason']}: {message}", *map(line, events[:2]))
    sentence = f"The image {image}{what} cannot be pulled: {because}"
    return Found(ended(sentence), remedy, evidence, case.pod_reference())


def _image(container: Obj, message: str) -> str:
    """The one that is pulled: of a container that mounts an image, it may be another than its
    own."""
    match = re.search(r'(?:image|unpack image) "([^"]+)"', message)
    return match[1] if match else str(container.get("image") or "")


def _whose(case: Case, container: str, image: str) -> str:
    volumes = (((case.vmi or {}).get("spec")) or {}).get("volumes") or []
    for volume in volumes:
        if (volume.get("containerDisk") or {}).get("image") == image:
            return f" of the disk {volume['name']}"
    if container == "compute":
        return " of virt-launcher"
    if container.startswith("volume"):
        return f" of the disk {container.removeprefix('volume')}"
    return f" of the container {container}"


@rule("ContainerNotCreated", "broken", "Mend what it names; the kubelet tries again by itself.")
def container_not_created(case: Case) -> Found | None:
    """The node's container runtime cannot make a container of the pod."""
    if not case.scheduling:
        return None
    for container in case.containers:
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") in NOT_CREATED:
            text = str(waiting.get("message") or waiting["reason"])
            sentence = ended(f"Container {container['name']} cannot be made: {text}")
            return Found(sentence, "", (f"{waiting['reason']}: {text}",), case.pod_reference())
    return None


@rule(
    "AddressNotAvailable",
    "broken",
    f"Free the address, or let the guest have another: take it out of the annotation {ASKED} of "
    "the VM, and restart it.",
)
def address_not_available(case: Case) -> Found | None:
    """An address that the guest is to keep cannot be had: another has it, or it is not of the
    node's range."""
    asked = read((case.vmi or {}).get("metadata", {}).get("annotations"))
    wanted = {plain(each) for addresses in asked.values() for each in addresses}
    if not case.scheduling or not wanted:
        return None
    for event in case.holding_up("FailedCreatePodSandBox"):
        text = str(event.get("message") or "")
        if named := sorted(address for address in wanted if address in text):
            sentence = (
                f"The address {', '.join(named)}, which its guest is to keep, cannot be had on "
                f"{case.node}."
            )
            return Found(sentence, "", (line(event),), case.pod_reference())
    return None


@rule(
    "PodNetworkFailed",
    "broken",
    "Look at the network plugin's pods on that node, and at the NetworkAttachmentDefinitions that "
    "the VM names.",
)
def pod_network_failed(case: Case) -> Found | None:
    """The node cannot set up the pod's network."""
    if not case.scheduling:
        return None
    for event in case.holding_up("FailedCreatePodSandBox"):
        text = str(event.get("message") or "")
        cause = text.rpartition("failed to setup network for sandbox")[2] or text
        sentence = ended(f"The pod's network cannot be set up on {case.node}: {cause.strip(' :')}")
        return Found(sentence, "", (line(event),), case.pod_reference())
    return None


@rule(
    "NetworkNotFound",
    "broken",
    "Create it, or name one that is there: kubectl get network-attachment-definitions. Without "
    "Multus there are none.",
)
def network_not_found(case: Case) -> Found | None:
    """A NetworkAttachmentDefinition that a network, or a binding plugin, names is not there."""
    told = case.not_synchronized
    if not case.starting or case.pod or told.get("reason") != "FailedNetworkNotFound":
        return None
    return Found(ended(f"The {told.get('message')}"), "", (), case.vmi_reference())


@rule(
    "NodeRefused",
    "broken",
    "A VirtualMachine that shall run gets a new pod by itself; look at the node if it happens "
    "again.",
)
def node_refused(case: Case) -> Found | None:
    """The node's kubelet did not take the pod that the scheduler gave it."""
    status = (case.pod or {}).get("status") or {}
    reason = str(status.get("reason") or "")
    if status.get("phase") != "Failed" or not reason.startswith(ADMISSION):
        return None
    text = status.get("message") or reason
    sentence = ended(f"The node {case.node} did not take its pod: {text}")
    return Found(sentence, "", (f"{reason}: {text}",), case.node_reference())


@rule(
    "Evicted",
    "broken",
    "Give the node more of what it ran short of; a VirtualMachine that shall run starts anew.",
)
def evicted(case: Case) -> Found | None:
    """The node ran short of memory or disk and evicted the pod, and the guest with it."""
    status = (case.pod or {}).get("status") or {}
    ousted = condition(case.pod or {}, "DisruptionTarget") or {}
    # A guest that heeded in time leaves a pod that Succeeded, and only this condition.
    if ousted.get("reason") == "TerminationByKubelet":
        text = ousted.get("message") or "it ran short"
    elif status.get("reason") == "Evicted":
        text = status.get("message") or "it ran short"
    else:
        return None
    return Found(ended(f"The node {case.node} evicted it: {text}"), "", (), case.node_reference())


@rule(
    "OOMKilled",
    "broken",
    "Give the guest's overhead more room: resources.limits.memory above domain.memory.guest, or no "
    "limit.",
)
def oom_killed(case: Case) -> Found | None:
    """The launcher's container used more memory than it may, and the kernel killed it."""
    over = _terminated(case)
    # The kernel may have killed QEMU alone; then the launcher tells, and with it the event.
    told = [str(event.get("message")) for event in case.life_events("Stopped")[:1]]
    said = " ".join([str(over.get("reason")), str(over.get("message")), *told])
    if case.phase == "Running" or "OOMKilled" not in said:
        return None
    limits = [
        ((container.get("resources") or {}).get("limits") or {}).get("memory")
        for container in ((case.pod or {}).get("spec") or {}).get("containers") or []
        if container.get("name") == "compute"
    ]
    room = f" ({limits[0]})" if limits and limits[0] else ""
    return Found(
        f"It used more memory than its pod may{room}, and the kernel killed it.",
        "",
        (
            f"compute exited with {over.get('exitCode')}: {over.get('reason')}" if over else "",
            *told,
        ),
        case.pod_reference(),
    )


@rule(
    "LauncherFailed",
    "broken",
    "Its last lines say why; the whole log: kubectl logs POD -c compute.",
)
def launcher_failed(case: Case) -> Found | None:
    """virt-launcher ended with an error before there was a guest."""
    if case.vmi is None or case.ran or case.phase == "Succeeded":
        return None
    for container in case.containers:
        over = (container.get("state") or {}).get("terminated") or {}
        if not over.get("exitCode"):
            continue
        said = str(over.get("message") or case.seen.log or "").strip()
        lines = [text for text in said.splitlines() if text.strip()][-LINES:]
        last = f": {lines[-1]}" if lines else ""
        name = "virt-launcher" if container["name"] == "compute" else container["name"]
        return Found(
            ended(f"{name} ended with {over['exitCode']} before the guest started{last}"),
            "",
            tuple(f"log: {text}" for text in lines),
            case.pod_reference(),
        )
    return None


def _terminated(case: Case) -> Obj:
    found: Obj = (case.compute.get("state") or {}).get("terminated") or {}
    return found


@rule(
    "PodDeleted",
    "broken",
    "To stop a guest, stop its VirtualMachine; a VirtualMachine that shall run starts anew.",
)
def pod_deleted(case: Case) -> Found | None:
    """Somebody deleted the pod, and the guest with it."""
    if case.phase != "Failed":
        return None
    # A pod that has ended is taken away by virt-controller itself.
    going = bool(((case.pod or {}).get("metadata") or {}).get("deletionTimestamp"))
    going = going and not _terminated(case)
    gone = case.told("Ready").get("reason") == "PodNotExists"
    if not going and not (gone and case.pod is None):
        return None
    evidence = tuple(line(event) for event in case.events("Stopped", "Killing")[:2])
    return Found("Its pod was deleted, and the guest with it.", "", evidence, case.vmi_reference())


@rule(
    "NodeNotReady",
    "broken",
    "Bring the node back. If it is off for good, taint it "
    "node.kubernetes.io/out-of-service=nodeshutdown:NoExecute, and its guests start elsewhere.",
)
def node_not_ready(case: Case) -> Found | None:
    """Its node does not answer."""
    facts = case.node_facts()
    if facts is None or facts.ready is not False or case.over or case.vmi is None:
        return None
    what = "Its guest may still run there" if case.ran else "Its pod cannot start there"
    beat = facts.annotations.get("kubevirt.io/heartbeat")
    evidence = (f"last heartbeat of virt-handler there: {beat}",) if beat else ()
    sentence = f"Its node {case.node} is not ready. {what}; nobody can tell."
    return Found(sentence, "", evidence, case.node_reference())


@rule(
    "HandlerSilent",
    "broken",
    "Look at virt-handler's pod on that node and at its log.",
)
def handler_silent(case: Case) -> Found | None:
    """virt-handler on its node does not run, so nobody starts the guest."""
    facts = case.node_facts()
    if facts is None or case.phase != "Scheduled":
        return None
    beat = seconds(facts.annotations.get("kubevirt.io/heartbeat"))
    late = beat is not None and case.seen.now - beat > 300.0
    if facts.labels.get("kubevirt.io/schedulable") == "true" and not late:
        return None
    return Found(
        f"virt-handler on {case.node} is not there, so nobody starts the guest.",
        "",
        (f"last heartbeat: {facts.annotations.get('kubevirt.io/heartbeat', 'never')}",),
        case.node_reference(),
    )


REFUSED: tuple[Rule, ...] = (
    instancetype_not_found,
    network_not_found,
    quota_exceeded,
    pod_security_refused,
    refused,
)
POD: tuple[Rule, ...] = (
    node_refused,
    evicted,
    oom_killed,
    pod_deleted,
    launcher_failed,
    image_pull,
    container_not_created,
    address_not_available,
    pod_network_failed,
)
NODE: tuple[Rule, ...] = (node_not_ready, handler_silent)
