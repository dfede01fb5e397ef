"""`make chart`: a Helm chart, made from the manifests that `virtctl install` applies.

The manifests are rendered with a mark in place of each choice, and each mark becomes the Helm
expression that makes the choice, so the chart cannot say something else than virtctl does. A mark
that is only part of a scalar would need quoting of its own, and is an error here.

https://helm.sh/docs/topics/charts/
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from virtpod.render import dashboard, install, rbac
from virtpod.render.rbac import Rule

FOLDER = Path("chart")
NAME = "virtpod"
REPLICAS = 918273645
Json = dict[str, Any]

MARKED = install.Options(
    image="mark-image",
    launcher_image="mark-launcher-image",
    guestfs_image="mark-guestfs-image",
    namespace="mark-namespace",
    version="mark-version",
    pull_policy="mark-pull-policy",
    pull_secrets=("mark-pull-secret",),
    image_volumes="mark-image-volumes",
    runbooks="mark-runbooks",
    replicas=REPLICAS,
)
EXPRESSIONS = {
    "mark-image": 'include "virtpod.image" . | quote',
    "mark-launcher-image": 'include "virtpod.launcherImage" . | quote',
    "mark-guestfs-image": ".Values.images.libguestfsTools | quote",
    "mark-namespace": ".Values.namespace | quote",
    "mark-version": 'include "virtpod.version" . | quote',
    "mark-pull-policy": ".Values.pullPolicy | quote",
    "mark-image-volumes": ".Values.imageVolumes | toString | quote",
    "mark-runbooks": ".Values.monitoring.runbooks | quote",
    str(REPLICAS): ".Values.replicas",
}
SECRETS = re.compile(r"^( *)imagePullSecrets:\n\1- name: mark-pull-secret\n", re.MULTILINE)
MARK = re.compile(rf"(?<=[:-] )(?:{'|'.join(map(re.escape, EXPRESSIONS))})$", re.MULTILINE)

VALUES = """\
# The namespace of Virtpod's own components. The chart makes it, unless it is the release's own,
# which `helm install --create-namespace` makes: label that one
# pod-security.kubernetes.io/enforce=privileged, for virt-handler is privileged.
namespace: kubevirt

# Where nodes pull the images virtpod and virt-launcher from, such as
# registry.example.org/virtpod; and their tag, which is the chart's version if it is empty.
registry: ""
tag: ""
# Whole references instead, as by digest.
images:
  virtpod: ""
  virtLauncher: ""
  # For `virtctl guestfs`, if wanted.
  libguestfsTools: ""
pullPolicy: IfNotPresent
# Names of secrets in the namespace.
pullSecrets: []

# Of virt-operator. How many virt-api and virt-controller there are is in kubevirt.spec.infra.
replicas: 1

# Whether pods mount containerDisks as image volumes: auto (virt-operator finds out), true, false.
imageVolumes: auto

kubevirt:
  # Without it virt-operator waits for a KubeVirt object that somebody else applies.
  create: true
  # Of the KubeVirt object; docs/install.md names what is most often set.
  spec: {}

monitoring:
  # The dashboard, as a ConfigMap that Grafana's side-car finds. Alerts and a ServiceMonitor are
  # virt-operator's, which makes them where the Prometheus operator is.
  dashboard: false
  # Where docs/observability.md, which has the alerts' runbooks, is published.
  runbooks: docs/observability.md
"""

SCHEMA = {
    "$schema": "https://json-schema.org/draft-07/schema#",
    "type": "object",
    "additionalProperties": False,
    "required": ["namespace"],
    "properties": {
        "global": {"type": "object"},
        "namespace": {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"},
        "registry": {"type": "string"},
        "tag": {"type": "string"},
        "images": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                name: {"type": "string"} for name in ("virtpod", "virtLauncher", "libguestfsTools")
            },
        },
        "pullPolicy": {"enum": ["IfNotPresent", "Always", "Never"]},
        "pullSecrets": {"type": "array", "items": {"type": "string"}},
        "replicas": {"type": "integer", "minimum": 1},
        "imageVolumes": {"enum": ["auto", "true", "false", True, False]},
        "kubevirt": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"create": {"type": "boolean"}, "spec": {"type": "object"}},
        },
        "monitoring": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"dashboard": {"type": "boolean"}, "runbooks": {"type": "string"}},
        },
    },
}

HELPERS = """\
{{- define "virtpod.tag" -}}
{{ .Values.tag | default (printf "v%s" .Chart.AppVersion) }}
{{- end }}

{{- define "virtpod.prefix" -}}
{{ required "set registry to where nodes pull images from, such as registry.example.org/virtpod" \
.Values.registry | trimSuffix "/" }}
{{- end }}

{{- define "virtpod.image" -}}
{{ with .Values.images.virtpod }}{{ . }}{{ else -}}
{{ include "virtpod.prefix" . }}/virtpod:{{ include "virtpod.tag" . }}{{ end }}
{{- end }}

{{- define "virtpod.launcherImage" -}}
{{ with .Values.images.virtLauncher }}{{ . }}{{ else -}}
{{ include "virtpod.prefix" . }}/virt-launcher:{{ include "virtpod.tag" . }}{{ end }}
{{- end }}

{{/* Tells an installation of just these images from any others. */}}
{{- define "virtpod.version" -}}
{{ include "virtpod.tag" . }}
{{- range list .Values.images.virtpod .Values.images.virtLauncher }}
{{- with . }}-{{ regexSplit "[:/]" . -1 | last | trunc 8 }}{{ end }}
{{- end }}
{{- end }}
"""

NOTES = """\
Virtpod is being installed into namespace {{ .Values.namespace }}. It is there when this returns:

  kubectl -n {{ .Values.namespace }} wait kubevirt/kubevirt --for=condition=Available --timeout=5m
{{- if eq .Values.namespace .Release.Namespace }}

Its node agent is privileged, which the namespace has to allow:

  kubectl label namespace {{ .Values.namespace }} \
pod-security.kubernetes.io/enforce=privileged --overwrite
{{- end }}
"""

KUBEVIRT = """\
{{- if .Values.kubevirt.create }}
{{- $secrets := list }}
{{- range .Values.pullSecrets }}{{ $secrets = append $secrets (dict "name" .) }}{{ end }}
{{- $spec := dict "imagePullPolicy" .Values.pullPolicy }}
{{- with $secrets }}{{ $_ := set $spec "imagePullSecrets" . }}{{ end }}
apiVersion: kubevirt.io/v1
kind: KubeVirt
metadata:
  name: kubevirt
  namespace: {{ .Values.namespace | quote }}
spec:
  {{- mergeOverwrite $spec .Values.kubevirt.spec | toYaml | nindent 2 }}
{{- end }}
"""

DASHBOARD = """\
{{- if .Values.monitoring.dashboard }}
apiVersion: v1
kind: ConfigMap
metadata:
  name: virtpod-dashboard
  namespace: {{ .Values.namespace | quote }}
  labels:
    grafana_dashboard: "1"
data:
  virtpod.json: {{ .Files.Get "dashboard.json" | quote }}
{{- end }}
"""
"""The file holds Grafana's own braces, which Helm shall not take for its."""


def chart(version: str) -> dict[str, str]:
    """Its files, by their paths."""
    manifests = install.operator_manifests(MARKED)
    crds = [each for each in manifests if each["kind"] == "CustomResourceDefinition"]
    namespace = next(each for each in manifests if each["kind"] == "Namespace")
    rest = [each for each in manifests if each not in crds and each is not namespace]
    about = {
        "apiVersion": "v2",
        "name": NAME,
        "description": metadata.metadata("virtpod")["Summary"],
        "type": "application",
        "version": version,
        "appVersion": version,
        "kubeVersion": ">=1.30.0-0",
    }
    own = "{{- if ne .Values.namespace .Release.Namespace }}\n%s{{- end }}\n"
    return {
        "Chart.yaml": _yaml([about]),
        "values.yaml": VALUES,
        "values.schema.json": _json(SCHEMA),
        "crds/kubevirt.yaml": _yaml(crds),
        "templates/_helpers.tpl": HELPERS,
        "templates/NOTES.txt": NOTES,
        "templates/namespace.yaml": own % templated([namespace]),
        "templates/operator.yaml": templated(rest),
        "templates/kubevirt.yaml": KUBEVIRT,
        "templates/dashboard.yaml": DASHBOARD,
        "dashboard.json": json.dumps(dashboard.dashboard()),
        "templates/uninstall.yaml": templated(removal(MARKED)),
    }


REMOVAL = "kubevirt-removal"


def removal(options: install.Options) -> list[Json]:
    """Hooks of `helm uninstall`: virt-operator takes away what it made while it is still there.

    Helm itself would delete the KubeVirt object and virt-operator at the same time.
    """
    namespace = options.namespace
    pod = {
        "serviceAccountName": REMOVAL,
        "restartPolicy": "Never",
        "imagePullSecrets": [{"name": secret} for secret in options.pull_secrets],
        "securityContext": {"runAsNonRoot": True, "runAsUser": install.UNPRIVILEGED},
        "containers": [
            {
                "name": "virt-operator",
                "image": options.image,
                "imagePullPolicy": options.pull_policy,
                "command": ["/usr/bin/virt-operator", "--remove"],
                "env": [
                    {
                        "name": "POD_NAMESPACE",
                        "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}},
                    }
                ],
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "terminationMessagePolicy": "FallbackToLogsOnError",
            }
        ],
    }
    rules = (Rule("kubevirt.io", ("kubevirts",), ("get", "list", "watch", "delete")),)
    objects = [
        rbac.service_account(REMOVAL, namespace),
        rbac.role(REMOVAL, namespace, rules),
        rbac.binding(REMOVAL, namespace, REMOVAL, rbac.account(REMOVAL, namespace)),
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": REMOVAL, "namespace": namespace},
            "spec": {"backoffLimit": 0, "template": {"spec": pod}},
        },
    ]
    return [_hook(each, weight) for weight, each in enumerate(objects)]


def _hook(manifest: Json, weight: int) -> Json:
    annotations = {
        "helm.sh/hook": "pre-delete",
        "helm.sh/hook-weight": str(weight),
        "helm.sh/hook-delete-policy": "before-hook-creation,hook-succeeded",
    }
    return {**manifest, "metadata": {**manifest["metadata"], "annotations": annotations}}


def templated(manifests: Iterable[Json]) -> str:
    """YAML with Helm's expressions in place of the marks. ValueError for a mark within a word."""
    text = _yaml(manifests)
    if "{{" in text:
        raise ValueError("a manifest holds what Helm takes for an expression")
    text = SECRETS.sub(_secrets, text)
    text = MARK.sub(lambda found: f"{{{{ {EXPRESSIONS[found[0]]} }}}}", text)
    left = [line for line in text.splitlines() if "mark-" in line or str(REPLICAS) in line]
    if left:
        raise ValueError(f"no expression for {left}")
    return text


def _secrets(found: re.Match[str]) -> str:
    indent = found[1]
    return (
        f"{indent}{{{{- with .Values.pullSecrets }}}}\n{indent}imagePullSecrets:\n"
        f"{indent}{{{{- range . }}}}\n{indent}- name: {{{{ . | quote }}}}\n"
        f"{indent}{{{{- end }}}}\n{indent}{{{{- end }}}}\n"
    )


def _yaml(documents: Iterable[Json]) -> str:
    text: str = yaml.safe_dump_all(documents, sort_keys=False, explicit_start=True, width=10000)
    return text


def _json(value: Json) -> str:
    return json.dumps(value, indent=2) + "\n"


def write(folder: Path) -> Path:
    """The chart's folder, which is made anew."""
    shutil.rmtree(folder / NAME, ignore_errors=True)
    for name, text in chart(metadata.version("virtpod")).items():
        path = folder / NAME / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder / NAME


if __name__ == "__main__":
    print(write(FOLDER))
