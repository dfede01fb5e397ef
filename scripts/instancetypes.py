"""docs/instancetypes.md: how to use them, and the set that is shipped, from its own data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from virtpod.render import common_instancetypes as common

BEFORE = """\
# Instance types and preferences

Made by `make docs` from `src/virtpod/render/common_instancetypes.py`.

An *instance type* is the size of a machine: its CPUs, its memory, its devices of the node. A
*preference* is what a guest's system likes: buses, cards, firmware, clock. A VirtualMachine names
one of each, and leaves the rest of its template open:

```yaml
apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata: {name: web}
spec:
  runStrategy: Always
  instancetype: {name: u1.small}
  preference: {name: debian}
  template:
    spec:
      domain: {devices: {}}
      volumes:
      - {name: root, containerDisk: {image: registry.example.org/debian:13}}
```

- An instance type decides. What the VM says of the same is a conflict, which admission refuses
  with the field: `VM field(s) spec.template.spec.domain.memory.guest conflicts with selected
  instance type`.
- A preference fills in what is left open, and changes nothing else. Its `requirements` (CPUs,
  memory, architecture) are a condition: a VM that does not meet them is refused.
- `cpu.preferredCPUTopology` says what an instance type's CPUs look like: `sockets` (default),
  `cores`, `threads`, `spread`, `any`.
- `kind` tells those of the cluster (VirtualMachineClusterInstancetype,
  VirtualMachineClusterPreference; meant where nothing is said) from those of a namespace.

`virtctl expand --vm web` prints the VM with all of it written out; `virtctl expand -f vm.yaml` does
so before there is one. `virtctl create instancetype` and `virtctl create preference` write
manifests, `virtctl create vm --instancetype u1.small --preference debian ...` a VM's.

## From a volume

A volume may know what its guest wants, by labels of its PersistentVolumeClaim, DataVolume or
DataSource:

```yaml
metadata:
  name: debian
  labels:
    instancetype.kubevirt.io/default-instancetype: u1.small
    instancetype.kubevirt.io/default-preference: debian
```

`instancetype.kubevirt.io/default-instancetype-kind` and `-preference-kind` name another kind than
the cluster's. A VM then says which volume to ask, and admission puts name and kind in its place:

```yaml
spec:
  instancetype: {inferFromVolume: root}
  preference: {inferFromVolume: root, inferFromVolumeFailurePolicy: Ignore}
```

Where the volume itself has no label, what it is made from is asked: the claim or the DataSource of
a DataVolume, and a DataSource's claim. No label at all is an error, or with `Ignore` no instance
type or preference; an instance type that is found then takes the place of the template's memory,
which was for the other case. What does not exist is an error either way. Images in registries
(containerDisk) have no labels to ask.

## Revisions

A VM goes on with what it was first given: a ControllerRevision of its own holds that, named in
`status.instancetypeRef.controllerRevisionRef` and `status.preferenceRef`, so a change of the
instance type, or its deletion, does not reach the VM. Naming another one takes that; taking the
reference away and naming it again takes the same one anew:

```
kubectl patch vm web --type merge -p '{"spec": {"instancetype": {"name": "u1.medium"}}}'
```

A running guest keeps what it has until its next start; condition RestartRequired says so.
`spec.instancetype.revisionName` pins a VM to a copy. Copies that are kept in an older version of
the API (v1alpha1, v1alpha2) are followed by one in v1beta1 when the VM is next looked at; label
`instancetype.kubevirt.io/object-version` tells. The old one goes with its VM.

The KubeVirt object's `configuration.instancetype.referencePolicy` says what becomes of references:

| | |
|---|---|
| `reference` | they stay, with copies (default) |
| `expand` | a VM that has no copy yet is written out, and refers to nothing afterwards |
| `expandAll` | every VM is |

## What is shipped

virt-operator makes these, of the whole cluster, mends them when they are changed, and takes them
away where the KubeVirt object says so (VMs that have copies go on):

```yaml
spec:
  configuration:
    commonInstancetypesDeployment: {enabled: false}
```

"""


def page() -> str:
    version = (
        f"Names, sizes and labels are those of KubeVirt's set {common.VERSION}. Labels find them:"
    )
    lines = [
        *(BEFORE + version, "`kubectl get vmcf -l instancetype.kubevirt.io/cpu=4`.", ""),
        *("### Instance types", "", "| Series | For | Sizes: CPUs, memory |", "|---|---|---|"),
        *(_series(name) for name in common.SERIES),
        "",
        "`1gi` at the end of a name: huge pages of 1 GiB, where 2 MiB are meant otherwise.",
        *("", "### Preferences", "", "| Preference | System | Least |", "|---|---|---|"),
        *_preferences(),
        "",
    ]
    return "\n".join(lines)


def _series(name: str) -> str:
    series = common.SERIES[name]
    types = [each for each in common.instancetypes() if _name(each).startswith(f"{name}.")]
    sizes = (
        f"`{_name(each)}` {each['spec']['cpu']['guest']}, {each['spec']['memory']['guest']}"
        for each in types
    )
    return f"| **{name}** {series.title} | {series.about} | {'<br>'.join(sizes)} |"


def _preferences() -> Iterator[str]:
    for each in common.preferences():
        needs = each["spec"].get("requirements", {})
        least = [
            *([f"{needs['cpu']['guest']} CPUs"] if "cpu" in needs else []),
            *([needs["memory"]["guest"]] if "memory" in needs else []),
            *([needs["architecture"]] if "architecture" in needs else []),
        ]
        title = each["metadata"]["annotations"]["openshift.io/display-name"]
        yield f"| `{_name(each)}` | {title} | {', '.join(least)} |"


def _name(each: dict[str, Any]) -> str:
    name: str = each["metadata"]["name"]
    return name
