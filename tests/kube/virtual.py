"""Time that passes at once: an event loop whose clock jumps to the next timer when all is quiet."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

QUIET = 0.002  # real seconds without I/O before a jump: loopback answers far sooner


class Jumping(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        selector: Any = self._selector  # type: ignore[attr-defined]
        select = selector.select

        def jump(timeout: float | None = None) -> Any:
            ready = select(timeout if timeout is None else min(timeout, QUIET))
            if not ready and timeout is not None:
                self.now += timeout
            return ready

        selector.select = jump

    def time(self) -> float:
        return self.now


def virtually(work: Coroutine[Any, Any, T]) -> T:
    """Run a test's coroutine in such a loop."""
    with asyncio.Runner(loop_factory=Jumping) as runner:
        return runner.run(work)


def clock() -> float:
    """The running loop's time, for those who take a clock."""
    return asyncio.get_running_loop().time()
