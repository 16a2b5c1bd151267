"""Looking on at a coordinator's rounds: what :func:`xaynet_sdk.simulate` shows of simulated ones."""

from __future__ import annotations

import http.client
import io
import json
import logging
import math
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from xaynet_sdk._numbers import seconds, whole
from xaynet_sdk._progress import progress_of
from xaynet_sdk.aggregation import WeightedMean
from xaynet_sdk.callbacks import AnyCallback, Callbacks
from xaynet_sdk.coordinator import Coordinator, summary
from xaynet_sdk.history import History, RoundResult, joined_metrics, measured
from xaynet_sdk.tls import Tls
from xaynet_sdk.xaynet_sdk import XaynetError

if TYPE_CHECKING:
    import numpy.typing as npt

    _Array: TypeAlias = npt.NDArray[Any]

__all__ = ["FollowError", "follow"]

_T = TypeVar("_T")

_LOG = logging.getLogger("participant")
# How many of the last rounds a status tells at most.
_ROUNDS = 64
# A status is never longer.
_MOST_STATUS = 4 << 20
# The longest wait for an answer, in seconds.
_ANSWER = 30.0


class FollowError(XaynetError):
    """What is at the URL is no coordinator that can be looked on at."""


def follow(
    coordinator: Coordinator | str,
    *,
    rounds: int | None = None,
    evaluate: Callable[[_Array], Mapping[str, float] | float] | None = None,
    aggregation: WeightedMean | None = None,
    callbacks: Iterable[AnyCallback] = (),
    progress: bool | Callable[[RoundResult], object] = True,
    keep_models: bool = False,
    timeout: float = math.inf,
    interval: float = 0.5,
    tls: Tls | None = None,
) -> History:
    """Looks on at the rounds of a coordinator that end from now on. It takes no part in them.

    With Ctrl-C, or any other exception, what there is is not lost: the exception has it as its attribute ``history``.

    Args:
        coordinator: A :class:`xaynet_sdk.Coordinator`, or the URL of a coordinator of this project (those of Xaynet tell nothing of
            their rounds).
        rounds: After how many global models to end; by default never.
        evaluate: What to measure of each global model: a number, or several by name.
        aggregation: That of the participants, if they have one.
        callbacks: What to call after each round: see :mod:`xaynet_sdk.callbacks`. Not for a round whose model the
            coordinator does not keep any more.
        progress: Show it (with tqdm if that is installed), or what to call after every round.
        keep_models: Keep the global model of each round, not of the last one only.
        timeout: How many seconds to wait for a round to end with a global model.
        interval: How often to look, in seconds.
        tls: Whom to trust, and what to show, if the URL is an https one.

    Raises:
        FollowError: There is no coordinator, or one that does not tell.
        TimeoutError: No round has ended with a model for too long; the text says what it waits for, and why rounds have failed.
    """
    if rounds is not None:
        whole("rounds", rounds, 1)
    timeout, interval = seconds("timeout", timeout), seconds("interval", interval)
    url = coordinator.url if isinstance(coordinator, Coordinator) else coordinator
    viewer = Viewer(url, tls)
    told = Callbacks(callbacks)
    history = History()
    try:
        seen = viewer.last_ended(viewer.status(1))
        deadline = time.monotonic() + timeout
        failures: list[str] = []
        failed = seen
        with told, progress_of(progress, rounds) as show:
            while rounds is None or len(history.rounds) < rounds:
                status = viewer.patiently(lambda: viewer.status(_ROUNDS), deadline)
                for each in sorted(status["rounds"], key=lambda each: int(each["id"])):
                    number = int(each["id"])
                    if number > failed and each["failure"] is not None:
                        failed = number
                        failures.append(each["failure"]["message"])
                        if len(failures) == 2:
                            _LOG.warning("%s", summary(status))
                    if number <= seen or each["outcome"] != "completed":
                        continue
                    seen, deadline = number, time.monotonic() + timeout
                    model = viewer.patiently(lambda: viewer.model(number), deadline)  # noqa: B023
                    result, model = _result(model, each, evaluate, aggregation, failures)
                    failures = []
                    history.rounds.append(result)
                    if model is not None:
                        history.model = model
                        if keep_models:
                            history.models.append(model)
                        history.stopped = told.on_round(result, model)
                    show(result)
                    if history.stopped is not None or len(history.rounds) == rounds:
                        return history
                if time.monotonic() > deadline:
                    raise TimeoutError(
                        f"no new global model within {timeout:g} s: {summary(status)}"
                    )
                time.sleep(interval)
    except BaseException as error:
        # Not every exception takes an attribute; then there is nothing to be done.
        with suppress(AttributeError, TypeError):
            error.history = history  # type: ignore[attr-defined]
        raise
    return history


def _result(
    model: _Array | None,
    ended: Mapping[str, Any],
    evaluate: Callable[[_Array], Mapping[str, float] | float] | None,
    aggregation: WeightedMean | None,
    failures: list[str],
) -> tuple[RoundResult, _Array | None]:
    number, models = int(ended["id"]), int(ended["models"] or 0)
    metrics: dict[str, float] = {}
    counts: dict[str, float] = {}
    samples: float | None = None
    if model is None:
        _LOG.warning(
            "the global model of round %d is not kept any more: it is not evaluated", number
        )
    else:
        if aggregation is not None:
            aggregate = aggregation.unpack(model)
            model, metrics = aggregate.model, dict(aggregate.metrics)
            counts = {name: mean * models for name, mean in aggregate.counts.items()}
            samples = aggregate.samples * models
        if evaluate is not None and model is not None:
            metrics = joined_metrics(metrics, measured(evaluate(model.copy())))
    result = RoundResult(
        number,
        models,
        int(ended["votes"] or 0),
        float(ended["seconds"]),
        0,
        0.0,
        metrics,
        tuple(failures),
        samples,
        counts,
    )
    return result, model


class Viewer:
    """Asks a coordinator what everybody may know."""

    def __init__(self, url: str, tls: Tls | None) -> None:
        if not isinstance(url, str) or not url.startswith(("http://", "https://")):
            raise FollowError(
                f"{url!r} is not a coordinator's URL; give one such as http://127.0.0.1:8081"
            )
        self._url = url.rstrip("/")
        handlers: list[urllib.request.BaseHandler] = []
        if self._url.startswith("https"):
            context = (tls or Tls())._context()
            handlers.append(urllib.request.HTTPSHandler(context=context))
        self._opener = urllib.request.build_opener(*handlers)

    def _get(self, path: str, accept: str, most: int | None) -> tuple[bytes, Mapping[str, str]]:
        request = urllib.request.Request(self._url + path, headers={"accept": accept})
        with self._opener.open(request, timeout=_ANSWER) as answer:
            body: bytes = answer.read() if most is None else answer.read(most + 1)
            headers = {name.lower(): value for name, value in answer.headers.items()}
        if most is not None and len(body) > most:
            raise FollowError(
                f"{self._url}{path} has more than {most} bytes: this is no coordinator"
            )
        return body, headers

    def get(self, path: str) -> tuple[bytes, Mapping[str, str]]:
        """A short answer, and its headers.

        Raises:
            FollowError: There is none.
        """
        try:
            return self._get(path, "*/*", _MOST_STATUS)
        except urllib.error.HTTPError as error:
            raise FollowError(f"{self._url}{path} answers with status {error.code}") from error
        except (OSError, http.client.HTTPException) as error:
            raise _Unreachable(f"{self._url}{path} cannot be had: {error}") from error

    def kept(self) -> list[int]:
        """The rounds whose global models are kept."""
        try:
            models = json.loads(self.get("/models")[0])["models"]
            return [int(each["round_id"]) for each in models]
        except (ValueError, KeyError, TypeError) as error:
            raise FollowError(f"{self._url}/models is no list of models: {error}") from error

    def status(self, rounds: int) -> dict[str, Any]:
        """What the coordinator is doing, and its last rounds."""
        where = f"{self._url}/status"
        try:
            path = f"/status?rounds={rounds}&samples=0"
            text, _ = self._get(path, "application/json", _MOST_STATUS)
            status: dict[str, Any] = json.loads(text)
            if not isinstance(status["rounds"], list) or "name" not in status["phase"]:
                raise ValueError("it says nothing of rounds")
        except urllib.error.HTTPError as error:
            hint = ": a coordinator of Xaynet does not tell of its rounds" * (error.code == 404)
            raise FollowError(f"{where} answers with status {error.code}{hint}") from error
        except (OSError, http.client.HTTPException) as error:
            raise _Unreachable(f"{where} cannot be reached: {error}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise FollowError(f"{where} is no status of a coordinator: {error}") from error
        return status

    def patiently(self, ask: Callable[[], _T], deadline: float) -> _T:
        """Asks again while the coordinator is away.

        Raises:
            TimeoutError: It has been away for too long.
        """
        told = False
        while True:
            try:
                return ask()
            except _Unreachable as error:
                if time.monotonic() > deadline:
                    raise TimeoutError(str(error)) from error
                if not told:
                    _LOG.warning("%s; it is asked again until it works", error)
                    told = True
                time.sleep(1.0)

    @staticmethod
    def last_ended(status: Mapping[str, Any]) -> int:
        """The number of the last round before the current one."""
        ended = [int(each["id"]) for each in status["rounds"] if each["outcome"] == "completed"]
        return max([*ended, int(status["round"]["id"]) - 1])

    def model(self, number: int) -> _Array | None:
        """The global model of a round, if it is still kept."""
        import numpy as np

        try:
            body, _ = self._get(f"/models/{number}", "application/x-npy", None)
        except urllib.error.HTTPError as error:
            if error.code in (404, 410):
                return None
            raise FollowError(
                f"{self._url}/models/{number} answers with status {error.code}"
            ) from error
        except (OSError, http.client.HTTPException) as error:
            raise _Unreachable(f"{self._url}/models/{number} cannot be had: {error}") from error
        model: _Array = np.load(io.BytesIO(body), allow_pickle=False)
        return model


class _Unreachable(FollowError):
    """It may be there later."""
