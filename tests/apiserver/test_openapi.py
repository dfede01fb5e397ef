"""Requests made from the served OpenAPI, right and wrong: each is answered as it says, and soon."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.apiserver.site import Pki, Running, put_vm, put_vmi, running
from virtpod.apiserver import discovery

SCHEMA = schemathesis.openapi.from_dict(discovery.openapi_v3("v1"))
OPERATIONS = [result.ok() for result in SCHEMA.get_all_operations()]
SOON = 2.0
"""Seconds for an answer."""
HIT = {"namespace": "default", "name": "demo", "port": "80", "protocol": "tcp"}


@dataclass
class Served:
    """A virt-api in a thread, and what a front proxy has to bring to it."""

    url: str
    ca: str
    certificate: tuple[str, str]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("openapi")
    ready: Future[Running] = Future()
    loop = asyncio.new_event_loop()
    over = asyncio.Event()

    async def serve() -> None:
        async with AsyncExitStack() as stack:
            try:
                api = await stack.enter_async_context(running(folder))
                put_vm(api)
                put_vmi(api)
                ready.set_result(api)
            except BaseException as error:
                ready.set_exception(error)
                raise
            await over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        api = ready.result(30)
        yield Served(api.url, str(api.pki.ca_file), _front_proxy(folder, api.pki))
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(30)
        loop.close()


def _front_proxy(folder: Path, pki: Pki) -> tuple[str, str]:
    issued = pki.front.issue_cert("client.invalid", common_name="front-proxy-client")
    chain, key = folder / "front.crt", folder / "front.key"
    issued.cert_chain_pems[0].write_to_path(chain)
    issued.private_key_pem.write_to_path(key)
    return str(chain), str(key)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.label.rpartition("/v1/")[2])
def test_each_operation_answers_as_it_says(served: Served, operation: Any) -> None:
    """Of an object that is there, and of any other; nothing that is sent is our defect."""

    cases = st.one_of(*(operation.as_strategy(generation_mode=mode) for mode in GenerationMode))

    @given(case=cases, there=st.booleans())
    @settings(
        max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    def hold(case: Any, there: bool) -> None:
        if there:
            case.path_parameters = {key: HIT[key] for key in case.path_parameters or {}}
        case.headers = {**(case.headers or {}), "X-Remote-User": "alice"}
        response = case.call(
            base_url=served.url, verify=served.ca, cert=served.certificate, timeout=SOON
        )
        assert response.status_code != 500 or operation.path.endswith(("list", "info")), response
        case.validate_response(
            response,
            checks=(content_type_conformance, response_schema_conformance, status_code_conformance),
        )

    hold()
