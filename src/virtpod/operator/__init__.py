"""virt-operator: keeps an installation as the KubeVirt CR wants it."""
