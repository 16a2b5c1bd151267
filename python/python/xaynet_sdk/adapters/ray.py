"""The workers of Ray for simulations without masks (needs ray; tested with 2.55)::

ray.init()
simulate(participants, model_length=10, masked=False, parallel=RayExecutor(workers=8))
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

from xaynet_sdk._numbers import whole

__all__ = ["RayExecutor"]


def _call(function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    return function(*args, **kwargs)


class RayExecutor(Executor):
    """Runs functions as tasks of the Ray that ``ray.init()`` has connected to, on this machine or many.

    Args:
        workers: How many run at the same time, and so about how many models are in memory: at most twice as many.
        options: What a task asks for, such as ``num_gpus=0.5``: see ``ray.remote``.
    """

    def __init__(self, workers: int, **options: Any) -> None:
        whole("workers", workers, 1)
        self._max_workers = workers
        ray: Any = importlib.import_module("ray")
        remote = ray.remote(_call)
        self._task = remote.options(**options) if options else remote

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """As every executor."""
        future: Future[Any] = self._task.remote(fn, args, kwargs).future()
        return future
