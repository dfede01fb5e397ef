"""Every command of KubeVirt's virtctl, with every flag that it has there."""

from __future__ import annotations

import argparse

import pytest

from virtpod.cli import __main__ as cli

DRY = "--dry-run"
CREDENTIAL = "--user -u --secret --force"
KEY = f"{CREDENTIAL} --file -f --value"

TABLE = {
    "addvolume": f"--volume-name --disk-name --serial --cache --persist --disk-type --bus {DRY}",
    "adm log-verbosity": "--all --reset --virt-api --virt-controller --virt-handler "
    "--virt-launcher --virt-operator",
    "completion": "",
    "configuration permitted-devices": "",
    "console": "--timeout",
    "create clone": "--name --source-name --source-type --target-name --target-type "
    "--label-filter --annotation-filter --template-label-filter --template-annotation-filter "
    "--new-mac-address --new-smbios-serial",
    "create instancetype": "--name --namespaced --cpu --memory --gpu --hostdevice "
    "--iothreadspolicy",
    "create preference": "--name --namespaced --volume-storage-class --machine-type --cpu-topology",
    "create vm": "--name --run-strategy --termination-grace-period --instancetype --preference "
    "--infer-instancetype --infer-instancetype-from --infer-preference --infer-preference-from "
    "--memory --volume-containerdisk --volume-pvc --volume-import --volume-sysprep "
    "--volume-datasource --volume-clone-pvc --volume-blank --cloud-init --user --password-file "
    "--ssh-key --ga-manage-ssh --cloud-init-user-data --cloud-init-network-data --access-cred",
    "credentials add-ssh-key": f"{KEY} --create-secret --update-secret",
    "credentials remove-ssh-key": KEY,
    "credentials set-password": f"{CREDENTIAL} --password -p",
    "evacuate-cancel": DRY,
    "expand": "--vm --file -f --output -o",
    "expose": "--name --port --target-port --port-name --protocol --type --cluster-ip "
    "--external-ip --ip-family --ip-family-policy",
    "fslist": "",
    "guestfs": "--image --root --uid --gid --fsGroup --kvm --pull-policy --vm",
    "guestosinfo": "",
    "image-upload": "--size --storage-class --access-mode --volume-mode --image-path "
    "--archive-path --uploadproxy-url --insecure --no-create --wait-secs --force-bind "
    "--default-instancetype --default-instancetype-kind --default-preference "
    "--default-preference-kind --datasource --retry",
    "memory-dump": "--claim-name --create-claim --access-mode --storage-class --output --format "
    "--port-forward --local-port",
    "migrate": f"--addedNodeSelector {DRY}",
    "migrate-cancel": DRY,
    "objectgraph": "--vmi --output -o --selector --exclude-optional",
    "pause": DRY,
    "port-forward": "--address --stdio",
    "removevolume": f"--volume-name --persist {DRY}",
    "reset": "",
    "restart": f"--force --grace-period {DRY}",
    "scp": "--username -l --identity-file -i --port -p --known-hosts --local-ssh-opts -t "
    "--recursive -r --preserve",
    "soft-reboot": "",
    "ssh": "--username -l --identity-file -i --port -p --known-hosts --command -c "
    "--local-ssh-opts -t",
    "start": f"--paused {DRY}",
    "stop": f"--force --grace-period {DRY}",
    "template convert": "--name --file -f --output -o",
    "template create": "--vm-name --vm-namespace --name",
    "template process": "--name --file -f --output -o --param -p --params-file --local --create "
    "--print-params",
    "unpause": DRY,
    "usbredir": "--no-launch",
    "userlist": "",
    "version": "--client -c",
    "vmexport": "--vm --snapshot --pvc --vmtemplate --volume --output --format --ttl --keep-vme "
    "--delete-vme --insecure --port-forward --local-port --service-url --manifest "
    "--manifest-output-format --include-secret --labels --annotations --readiness-timeout --retry",
    "vnc": "--proxy-only --port --address --vnc-type --vnc-path --preserve-session --file -f "
    "--move-cursor",
}
"""By command: its own flags. https://kubevirt.io/user-guide/user_workloads/virtctl_client_tool/"""

OF_ALL = {
    *("--kubeconfig", "--context", "--namespace", "-n", "--server", "--token", "-v", "--v"),
    *("--certificate-authority", "--client-certificate", "--client-key", "--tls-server-name"),
    *("--as", "--as-uid", "--as-group", "--insecure-skip-tls-verify", "--help", "-h"),
}
"""kubectl's, beside them: https://kubernetes.io/docs/reference/kubectl/kubectl/"""


def flags(command: str) -> dict[str, argparse.Action]:
    return cli.parser_for(command.split())._option_string_actions


def test_there_is_every_command() -> None:
    assert set(TABLE) - {" ".join(path) for path in cli.commands()} == set()


@pytest.mark.parametrize("command", TABLE)
def test_a_command_has_every_flag(command: str) -> None:
    missing = {*TABLE[command].split(), *OF_ALL} - set(flags(command))
    assert missing == set()
