"""The common instance types and preferences: what it costs to bring them and to take them away."""

from __future__ import annotations

from collections import Counter

from tests.kube.fake import FakeCluster
from tests.operator.test_install import OPTIONS
from virtpod.kube.resources import CLUSTER_INSTANCETYPES, CLUSTER_PREFERENCES, KUBEVIRTS, Key
from virtpod.operator.installer import Installer
from virtpod.render import common_instancetypes
from virtpod.render.install import kubevirt_cr

ALL = [*common_instancetypes.instancetypes(), *common_instancetypes.preferences()]


async def test_each_that_is_turned_off_costs_one_request(fake: FakeCluster) -> None:
    cr = kubevirt_cr(OPTIONS)
    fake.put(KUBEVIRTS, cr)
    async with fake.client("virt-operator") as client:
        installer = Installer(client, client, OPTIONS)
        await installer._keep_common(cr)
        made = fake.objects(CLUSTER_INSTANCETYPES)[Key("", "u1.nano")]
        labels = made["metadata"]["labels"]
        fake.put(CLUSTER_INSTANCETYPES, {**made, "metadata": {"name": "mine", "labels": labels}})
        cr["spec"]["configuration"] = {"commonInstancetypesDeployment": {"enabled": False}}
        asked: Counter[str] = Counter()
        client.observe = lambda each: asked.update([each.method])
        await installer._keep_common(cr)
        assert asked == {"GET": 2, "DELETE": len(ALL)}
        await installer._keep_common(cr)
        assert asked == {"GET": 4, "DELETE": len(ALL)}
    assert list(fake.objects(CLUSTER_INSTANCETYPES)) == [Key("", "mine")]
    assert fake.objects(CLUSTER_PREFERENCES) == {}
