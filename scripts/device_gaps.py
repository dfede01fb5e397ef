"""What virtual machines lacked of what containers have of QAT devices, and the test that shows each
gap closed: a table of docs/gaps.md. The names of the tests are checked by
tests/unit/test_device_gaps.py."""

from __future__ import annotations

from dataclasses import dataclass

NODE = "node/test_host_devices.py::"
QAT = "node/test_qat.py::"
E2E = "e2e/test_host_devices.py::"


@dataclass(frozen=True)
class Gap:
    """`tests` below tests/, as file::name; `lacks`: what is not closed, or not shown, and why."""

    number: str
    gap: str
    closed: str
    tests: tuple[str, ...] = ()
    lacks: str = ""


NO_QAT = "no QAT device is on the hosts at hand: what a function does in a guest was not seen"

GAPS = (
    # What containers had and machines had not.
    Gap(
        "C1",
        "A field of the VMI that asks for the device",
        "`devices.hostDevices[].deviceName`, or a resource claim's request",
        (f"{E2E}test_the_kubelet_counts_and_gives_devices_by_service",),
    ),
    Gap(
        "C2",
        "Switched by configuration",
        "feature gates `HostDevices` and `QAT`, `permittedHostDevices`, followed without a restart",
        (f"{E2E}test_a_new_agent_and_a_new_configuration_are_followed",),
    ),
    Gap(
        "C3",
        "The PCI device reaches the VMI's pod",
        "virt-handler's own device plugins, Intel's, the SR-IOV network plugin's, DRA drivers",
        (
            f"{E2E}test_the_kubelet_counts_and_gives_devices_by_service",
            "launcher/test_given.py::test_each_plugin_s_variables_are_understood",
        ),
    ),
    Gap(
        "C4",
        "Passed through to the domain by VFIO",
        "`<hostdev>` of each function that the pod was given",
        ("guest/test_domains.py::test_libvirt_takes_every_golden_domain",),
        NO_QAT,
    ),
    Gap(
        "C5",
        "virt-api looks at it",
        "a resource that is not permitted, a missing gate, two devices of one name are refused, "
        "with the field",
        ("golden/test_golden.py::test_a_vmi_and_what_becomes_of_it",),
    ),
    Gap(
        "C6",
        "Manifests to begin with",
        "`examples/qat`, one for each generation",
        ("unit/test_qat_examples.py::test_a_manifest_ends_in_a_guest_that_has_the_functions",),
    ),
    Gap(
        "C7",
        "Tests",
        "every generation over a sysfs that the tests make, with a kernel that plays; allocation "
        "by a real kubelet",
        (f"{QAT}test_each_generation_is_set_up_from_nothing",),
        NO_QAT,
    ),
    # What no system closed.
    Gap(
        "G1",
        "Intel's plugin names functions `QAT0`, `QAT1` …, KubeVirt reads `PCI_RESOURCE_…`",
        "both are understood; who has what is read from the kubelet's pod-resources API",
        (
            "launcher/test_given.py::test_each_plugin_s_variables_are_understood",
            "launcher/test_given.py::test_resources_of_intel_s_plugin_are_told_apart_by_service",
            f"{QAT}test_the_kubelet_tells_of_plugins_and_claims",
        ),
    ),
    Gap(
        "G2",
        "Services are invisible: crypto and compression are mixed",
        "resources by service, with Intel's names",
        (
            f"{NODE}test_each_generation_is_offered_by_its_service",
            f"{NODE}test_devices_of_different_services_are_not_mixed",
        ),
    ),
    Gap(
        "G3",
        "Two plugins fight for the driver of a function",
        "one owner: beside Intel's plugin or DRA driver virt-handler neither offers nor sets up; a "
        "device is offered by one name, and to nobody while a pod has it by another",
        (
            f"{QAT}test_a_device_has_one_owner",
            f"{NODE}test_qat_that_others_provide_is_left_to_them",
            f"{NODE}test_a_device_is_offered_by_one_name",
            f"{NODE}test_what_a_pod_has_by_another_name_is_not_offered",
        ),
    ),
    Gap(
        "G4",
        "Variant drivers such as `qat_vfio_pci` are passed over",
        "any driver that has a `vfio-dev` will do",
        (f"{NODE}test_devices_of_different_services_are_not_mixed",),
    ),
    Gap(
        "G5",
        "A guest with a device never migrates",
        "LiveMigratable names each device that cannot save its state, asked of the kernel or known "
        "by its driver; policies bind qat_vfio_pci; nodes tell by labels which kinds they have, "
        "and condition HostDeviceTargets names the device for which no other node has the same id "
        "and services",
        (
            "launcher/test_movable.py::test_the_kernel_says_which_devices_move",
            "unit/test_movable.py::test_the_one_that_blocks_is_named_with_what_to_do",
            "controllers/test_targets.py::"
            "test_the_device_that_has_no_place_is_named_with_what_to_do",
            "controller/test_loops.py::"
            "test_a_device_without_another_node_is_told_as_nodes_and_guests_change",
            "kube/test_targets.py::"
            "test_the_scheduler_chooses_among_the_nodes_that_the_condition_names",
        ),
        lacks="there is no live migration yet, whose receiving pod would have these terms; the "
        "types of mediated devices are not compared",
    ),
    Gap(
        "G6",
        "No topology of the devices in the guest",
        "functions of one device are in one slot, those of another elsewhere",
        (
            "golden/test_golden.py::test_a_vmi_and_what_becomes_of_it",
            "guest/test_domains.py::test_libvirt_takes_every_golden_domain",
        ),
        "qatlib was not seen to find its services so, for want of a QAT device",
    ),
    Gap(
        "G7",
        "No virtual IOMMU",
        "annotation `virtpod.io/viommu: intel`; admission proposes it, or hugepages",
        (
            "guest/test_machine.py::"
            "test_a_kernel_of_an_image_is_booted_by_a_firmware_that_remembers_and_finds_an_iommu",
            "golden/test_golden.py::test_a_vmi_and_what_becomes_of_it",
        ),
        lacks="seen by a guest under TCG, without a device behind it; with KVM libvirt takes it",
    ),
    Gap(
        "G8",
        "Nobody sets the node's devices up",
        "`QATNodePolicy` and `QATNodeState` (ADR 0012)",
        (
            f"{QAT}test_each_generation_is_set_up_from_nothing",
            f"{QAT}test_what_somebody_holds_is_not_touched",
            f"{E2E}test_a_policy_sets_a_device_up_and_leaves_what_is_held",
        ),
        "the kernel's side is played by the tests",
    ),
    Gap(
        "G9",
        "Health is that /dev/vfio/N is there",
        "state, heartbeat, driver, AER, removal: to the kubelet, the node, the VMI, a metric",
        (
            f"{QAT}test_a_device_that_fails_is_told_everywhere",
            f"{E2E}test_health_and_faults_are_told_on_the_node",
            f"{E2E}test_a_guest_says_which_of_its_devices_fails",
        ),
    ),
    Gap(
        "G10",
        "No plugging of devices while the guest runs",
        "a VM's `hostDevices` are followed while it runs, by a pod for each (ADR 0014)",
        (
            "e2e/test_pass_through.py::test_devices_come_and_go_while_the_guest_runs",
            "controllers/test_node_plug.py::test_a_device_comes_when_its_pod_runs_and_goes_before_its_pod",
            "node/test_loans.py::test_a_device_is_lent_and_taken_back",
        ),
        "devices of claims, and GPUs, wait for the guest's next start",
    ),
    Gap(
        "G11",
        "The kubelet picks functions at random",
        "GetPreferredAllocation: NUMA node, then balanced, packed or together",
        (
            f"{NODE}test_a_policy_balances_devices_or_packs_them",
            f"{NODE}test_those_of_one_numa_node_come_before_any_policy",
            f"{E2E}test_the_kubelet_counts_and_gives_devices_by_service",
        ),
    ),
    Gap(
        "G12",
        "Intel's DRA driver publishes no PCI address",
        "the kubelet's CDI names and what they stand for are read",
        ("node/test_allotted.py::test_intel_s_driver_for_qat_gives_groups_and_publishes_services",),
    ),
    Gap(
        "G13",
        "A selector that names the physical function",
        "a warning at admission, and the node says so",
        (
            "rules/test_kinds.py::test_a_mistake_is_named",
            f"{NODE}test_a_selector_of_a_physical_function_with_virtual_ones_is_a_mistake",
        ),
    ),
    Gap(
        "G14",
        "An IOMMU group with several functions loses devices",
        "a group is given as a whole, or not at all, with the reason",
        (f"{NODE}test_a_group_is_given_as_a_whole_or_not_at_all",),
    ),
    Gap(
        "G15",
        "No accounting",
        "metrics of owner, driver, NUMA node, services, heartbeat, AER, telemetry, ring pairs; "
        "rate limits (SLA) of each function set by `QATNodePolicy`, read back and measured",
        (
            f"{QAT}test_devices_and_their_owners_are_measured",
            f"{QAT}test_limits_are_set_when_all_else_is",
            f"{QAT}test_limits_change_under_whoever_has_the_function",
            f"{QAT}test_from_any_limits_to_any_the_kernel_never_refuses",
        ),
        "the kernel's side is played by the tests, after Linux' adf_rl.c; functions of a device "
        "have equal limits",
    ),
)


def table() -> list[str]:
    lines = ["| | Gap | Closed by | Seen in | Lacks |", "|---|---|---|---|---|"]
    for each in GAPS:
        seen = "<br>".join(f"`{test}`" for test in each.tests)
        lines.append(f"| {each.number} | {each.gap} | {each.closed} | {seen} | {each.lacks} |")
    return lines
