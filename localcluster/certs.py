"""Certificates and kubeconfigs, made once per cluster by the openssl command.

Three authorities, as Kubernetes wants them: the cluster's, the front proxy's (so that an
extension API server can tell the aggregator from a user), and the service accounts' key pair.

Source: "PKI certificates and requirements", kubernetes.io/docs/setup/best-practices/certificates.
"""

import base64
import json
import subprocess
from pathlib import Path

from . import layout

DAYS = "3650"
_CONFIG = layout.PKI / "openssl.cnf"  # the distribution's would add extensions of its own


def control_plane() -> None:
    """Everything that the control plane and the administrator need."""
    layout.PKI.mkdir(parents=True, exist_ok=True)
    layout.PKI.chmod(0o700)
    _CONFIG.write_text("[req]\ndistinguished_name = subject\n[subject]\n")
    _authority("ca", "virtpod local cluster")
    _authority("front-proxy-ca", "virtpod local front proxy")
    _service_account_keys()

    names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc"]
    names += [f"kubernetes.default.svc.{layout.DOMAIN}", "localhost"]
    addresses = ["127.0.0.1", layout.CONTROL_PLANE_IP, layout.API_SERVICE_IP]
    _certificate("apiserver", "/CN=kube-apiserver", names=names, addresses=addresses)
    _certificate("apiserver-kubelet-client", "/O=system:masters/CN=kube-apiserver-kubelet-client")
    _certificate("front-proxy-client", "/CN=front-proxy-client", authority="front-proxy-ca")

    for component in ("controller-manager", "scheduler"):
        _certificate(component, f"/CN=system:kube-{component}")
        _kubeconfig(component, layout.PKI / f"{component}.kubeconfig", layout.API_SERVER)
    _certificate("provisioner", "/O=system:masters/CN=volume-provisioner")
    _kubeconfig("provisioner", layout.PKI / "provisioner.kubeconfig", layout.API_SERVER)
    _certificate("admin", "/O=system:masters/CN=kubernetes-admin")


def node(node: layout.Node) -> None:
    """A node's kubelet (both as client and as server) and kube-proxy."""
    name = node.name
    _certificate(
        f"kubelet-{name}",
        f"/O=system:nodes/CN=system:node:{name}",
        names=[name],
        addresses=[node.address, "127.0.0.1"],
    )
    _certificate(f"kube-proxy-{name}", "/CN=system:kube-proxy")
    for component in ("kubelet", "kube-proxy"):
        who = f"{component}-{name}"
        _kubeconfig(who, layout.PKI / f"{who}.kubeconfig", layout.API_SERVER)


def user(name: str, subject: str) -> Path:
    """The kubeconfig of a program on a node."""
    _certificate(name, subject)
    path = layout.PKI / f"{name}.kubeconfig"
    _kubeconfig(name, path, layout.API_SERVER)
    return path


def admin_kubeconfig(port: int) -> None:
    """`.local/kubeconfig`: whole in itself, so that it may be copied; users' to change, so the
    starter reads one of its own."""
    for path in (layout.ADMIN_KUBECONFIG, layout.KUBECONFIG):
        _kubeconfig("admin", path, f"https://127.0.0.1:{port}")


def _authority(name: str, subject: str) -> None:
    if not _wanted(name):
        return
    extensions = ["basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign"]
    _request(name, f"/CN={subject}", extensions)


def _certificate(
    name: str,
    subject: str,
    *,
    names: list[str] | None = None,
    addresses: list[str] | None = None,
    authority: str = "ca",
) -> None:
    if not _wanted(name):
        return
    subjects = [f"DNS:{each}" for each in names or []] + [f"IP:{each}" for each in addresses or []]
    extensions = [
        "basicConstraints=critical,CA:FALSE",
        "keyUsage=critical,digitalSignature",
        "extendedKeyUsage=clientAuth,serverAuth" if subjects else "extendedKeyUsage=clientAuth",
    ]
    if subjects:
        extensions.append("subjectAltName=" + ",".join(subjects))
    signer = ["-CA", str(_file(authority, "crt")), "-CAkey", str(_file(authority, "key"))]
    _request(name, subject, extensions, signer)


def _request(
    name: str, subject: str, extensions: list[str], signer: list[str] | None = None
) -> None:
    command = ["openssl", "req", "-x509", "-days", DAYS, "-subj", subject, "-nodes"]
    command += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    command += ["-config", str(_CONFIG), *(signer or [])]
    for extension in extensions:
        command += ["-addext", extension]
    key, certificate = _file(name, "key"), _file(name, "crt")
    fresh = certificate.with_suffix(".new")
    _run([*command, "-keyout", str(key), "-out", str(fresh)])
    key.chmod(0o600)
    fresh.replace(certificate)


def _service_account_keys() -> None:
    key, public = _file("service-accounts", "key"), _file("service-accounts", "pub")
    if public.exists():
        return
    _run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(key)])
    key.chmod(0o600)
    _run(["openssl", "ec", "-in", str(key), "-pubout", "-out", str(public)])


def _kubeconfig(who: str, path: Path, server: str) -> None:
    def inline(name: str, suffix: str) -> str:
        return base64.b64encode(_file(name, suffix).read_bytes()).decode()

    name = "virtpod"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [
            {
                "name": name,
                "cluster": {"server": server, "certificate-authority-data": inline("ca", "crt")},
            }
        ],
        "users": [
            {
                "name": who,
                "user": {
                    "client-certificate-data": inline(who, "crt"),
                    "client-key-data": inline(who, "key"),
                },
            }
        ],
        "contexts": [{"name": name, "context": {"cluster": name, "user": who}}],
    }
    text = json.dumps(document, indent=2) + "\n"  # JSON is YAML
    if path.exists() and path.read_text() == text:
        return
    path.touch(mode=0o600)
    path.write_text(text)


def _wanted(name: str) -> bool:
    return not _file(name, "crt").exists()


def _file(name: str, suffix: str) -> Path:
    return layout.PKI / f"{name}.{suffix}"


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True)
