"""Measurements of Virtpod on a cluster, beside KubeVirt's own figures."""
