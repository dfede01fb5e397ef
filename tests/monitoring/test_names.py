"""Every metric that KubeVirt is known for: exported here, or why not."""

from __future__ import annotations

import itertools
import re

import pytest

from scripts import observability

EXPORTED = """
kubevirt_info kubevirt_configuration_emulation_enabled kubevirt_node_deprecated_machine_types
kubevirt_virt_{api,controller,handler,operator}_{up,ready,ready_status,pods_running}
kubevirt_virt_{controller,operator}_{leading,leading_status}
kubevirt_nodes_with_kvm kubevirt_nodes_allocatable kubevirt_allocatable_nodes
kubevirt_non_schedulable_nodes kubevirt_api_request_deprecated_total
kubevirt_rest_client_{requests_total,request_latency_seconds,rate_limiter_duration_seconds}
kubevirt_workqueue_{adds_total,depth,queue_duration_seconds,work_duration_seconds}
kubevirt_workqueue_{unfinished_work_seconds,longest_running_processor_seconds,retries_total}
kubevirt_memory_delta_from_requested_bytes kubevirt_suspected_orphaned_storage_bytes

kubevirt_{console,vnc,usbredir}_active_connections kubevirt_portforward_active_tunnels
kubevirt_vmi_last_api_connection_timestamp_seconds kubevirt_vmi_sync_total
kubevirt_vm_created_by_pod_total kubevirt_vm_created_total

kubevirt_vm_{info,labels,vnic_info,resource_requests,resource_limits} kubevirt_number_of_vms
kubevirt_vm_{running,starting,migrating,non_running,error}_status_last_transition_timestamp_seconds
kubevirt_vm_{disk_allocated_size_bytes,create_date_timestamp_seconds}
kubevirt_vm_container_memory_request_margin_based_on_{rss,working_set}_bytes

kubevirt_vmi_{info,vnic_info,phase,phase_count,non_evictable,status_addresses,number_of_outdated}
kubevirt_vmi_phase_transition_time_{seconds,from_creation_seconds,from_deletion_seconds}
kubevirt_vmi_{launcher_memory_overhead_bytes,guest_os_panic_total}

kubevirt_vmi_cpu_{usage,user_usage,system_usage}_seconds_total
kubevirt_vmi_memory_{actual_balloon,available,cached,domain,resident,unused,usable,used}_bytes
kubevirt_vmi_memory_{swap_in_traffic,swap_out_traffic}_bytes
kubevirt_vmi_memory_{pgmajfault,pgminfault}_total kubevirt_vmi_memory_headroom_ratio
kubevirt_vmi_{pgmajfaults,swap_traffic_bytes,node_cpu_affinity}
kubevirt_vmi_vcpu kubevirt_vmi_vcpu_{seconds,wait_seconds,delay_seconds}_total
kubevirt_vmi_storage_{iops_read,iops_write,read_traffic_bytes,write_traffic_bytes}_total
kubevirt_vmi_storage_{read_times_seconds,write_times_seconds}_total
kubevirt_vmi_storage_{flush_requests,flush_times_seconds}_total
kubevirt_vmi_network_{receive,transmit}_{bytes,packets,errors,packets_dropped}_total
kubevirt_vmi_network_traffic_bytes_total kubevirt_vmi_filesystem_{capacity,used}_bytes
kubevirt_vmi_guest_load_{1m,5m,15m} kubevirt_vmi_guest_{queue_length,vcpu_queue}
"""
LATER = """
kubevirt_vmi_migrations_in_{pending,scheduling,running,unset}_phase
kubevirt_vmi_migration_{succeeded,failed,start_time_seconds,end_time_seconds}
kubevirt_vmi_migration_data_{total,processed,remaining}_bytes
kubevirt_vmi_migration_{data_bytes_total,phase_transition_time_from_creation_seconds}
kubevirt_vmi_migration_{dirty_memory_rate_bytes,memory_transfer_rate_bytes}
kubevirt_vmsnapshot_{succeeded_timestamp_seconds,labels,persistentvolumeclaim_labels}
kubevirt_vmsnapshot_{disks_restored,disks_restored_from_source,restored_bytes}
kubevirt_vmsnapshot_disks_restored_from_source_bytes
"""
"""They come with migrations and snapshots: until then there is nothing to count."""
WITHOUT_SOURCE = {
    "kubevirt_vmi_dirty_rate_bytes_per_second": "libvirt has no rate until a calculation is "
    "started, and each is one for a whole second: a job of the domain, and QEMU reads samples of "
    "all the guest's memory, at each scrape of each guest",
    "kubevirt_vmi_gpu_info": "tells the GPU's UUID, which its maker's driver alone knows: neither "
    "libvirt nor the device plugin says it",
}


def expanded(text: str) -> list[str]:
    """`a_{b,c}` is a_b and a_c, as in a shell."""
    found = []
    for word in text.split():
        parts = [part.split(",") for part in re.split(r"[{}]", word)]
        found += ["".join(each) for each in itertools.product(*parts)]
    return found


@pytest.mark.parametrize("name", expanded(EXPORTED))
def test_it_is_exported(name: str) -> None:
    assert name in observability.names()


@pytest.mark.parametrize("name", [*expanded(LATER), *WITHOUT_SOURCE])
def test_it_is_not_exported_yet(name: str) -> None:
    assert name not in observability.names()


def test_each_is_said_once_and_none_is_missing() -> None:
    said = [*expanded(EXPORTED), *expanded(LATER), *WITHOUT_SOURCE]
    assert len(said) == len(set(said))
    made = {
        each.name
        for component in observability.exported().values()
        for each in component
        if each.name.startswith("kubevirt_")
    }
    assert made <= set(said)
