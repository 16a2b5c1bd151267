"""What is done after each round: to stop early, to keep the model, to show numbers elsewhere.

They are given to :func:`xaynet_sdk.simulate` and to :func:`xaynet_sdk.follow`, and called in their order::

    callbacks = [EarlyStopping("accuracy", patience=5), Checkpoint("model.npz", best="accuracy")]
    result = xaynet_sdk.simulate(participants, model_length=650, rounds=100, evaluate=accuracy, callbacks=callbacks)
    result.stopped  # 'accuracy has not become better for 5 rounds'

A callback is an object with :meth:`Callback.on_round`, or any function of a round and its model.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from xaynet_sdk._numbers import whole
from xaynet_sdk.history import RoundResult
from xaynet_sdk.layout import Layout
from xaynet_sdk.xaynet_sdk import XaynetError

if TYPE_CHECKING:
    import numpy.typing as npt

    _Array: TypeAlias = npt.NDArray[Any]

__all__ = [
    "Callback",
    "Checkpoint",
    "CheckpointError",
    "EarlyStopping",
    "MLflow",
    "SavedModel",
    "TensorBoard",
    "WandB",
    "load_checkpoint",
]

_Path: TypeAlias = str | os.PathLike[str]


class Callback:
    """Called after each round, and at the end. Both methods do nothing unless they are overridden."""

    def on_round(self, result: RoundResult, model: _Array) -> str | bool | None:
        """Called with what came of a round, and its global model.

        Returns:
            None (or False) to go on; True, or the reason in words, to stop after this round.
        """
        return None

    def on_end(self) -> None:
        """Called once at the end, also after an exception."""


#: What may be given as a callback.
AnyCallback: TypeAlias = Callback | Callable[[RoundResult, Any], str | bool | None]


class Callbacks:
    """Several as one."""

    def __init__(self, callbacks: Iterable[AnyCallback]) -> None:
        self._callbacks = list(callbacks)
        for each in self._callbacks:
            if isinstance(each, type) or not (isinstance(each, Callback) or callable(each)):
                raise TypeError(
                    f"a callback is an object such as EarlyStopping('loss'), or a function of a round and its model, and "
                    f"{each!r} is neither"
                )

    def on_round(self, result: RoundResult, model: _Array) -> str | None:
        """Why to stop, if any of them says so; all are called nevertheless."""
        why: str | None = None
        for each in self._callbacks:
            call = each.on_round if isinstance(each, Callback) else each
            told = call(result, model)
            if told and why is None:
                why = told if isinstance(told, str) else f"{_name(each)} has stopped it"
        return why

    def __enter__(self) -> Callbacks:
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._callbacks:
            if isinstance(each, Callback):
                each.on_end()


def _name(callback: object) -> str:
    return str(getattr(callback, "__name__", type(callback).__name__))


def _metric(result: RoundResult, name: str, who: str) -> float:
    try:
        return float(result.metrics[name])
    except KeyError:
        known = ", ".join(result.metrics) or "none: give evaluate= or an aggregation with metrics"
        raise ValueError(f"{who}: a round has no metric {name!r}; there are {known}") from None


class _Best:
    """Knows the best value so far."""

    def __init__(self, mode: str, min_delta: float = 0.0) -> None:
        if mode not in ("min", "max"):
            raise ValueError(f'mode is "min" or "max", not {mode!r}')
        if not 0 <= min_delta < math.inf:
            raise ValueError(f"min_delta is a number that is not negative, and not {min_delta!r}")
        self._sign = 1.0 if mode == "max" else -1.0
        self._min_delta = min_delta
        self.value: float | None = None

    def is_better(self, value: float) -> bool:
        # NaN is better than nothing only in that it is never better.
        if math.isnan(value):
            return False
        if self.value is not None and (value - self.value) * self._sign <= self._min_delta:
            return False
        self.value = value
        return True


def _mode_of(metric: str, mode: str | None) -> str:
    """What is called a loss or an error is better when it is smaller."""
    if mode is not None:
        return mode
    return "min" if any(word in metric.lower() for word in ("loss", "error")) else "max"


class EarlyStopping(Callback):
    """Stops when a metric has not become better for some rounds.

    Args:
        metric: Its name: one of ``evaluate``'s, or of the aggregation's.
        patience: For how many rounds in a row it may not become better.
        min_delta: By how much more than this it has to be better to count as better.
        mode: Whether larger (``max``) or smaller (``min``) is better. By default smaller for names with "loss" or "error"
            in them, and larger for all others.
    """

    def __init__(
        self,
        metric: str,
        *,
        patience: int = 5,
        min_delta: float = 0.0,
        mode: Literal["min", "max"] | None = None,
    ) -> None:
        self.metric = metric
        self.patience = whole("patience", patience, 1)
        self._best = _Best(_mode_of(metric, mode), min_delta)
        self._worse = 0

    def on_round(self, result: RoundResult, model: _Array) -> str | None:
        if self._best.is_better(_metric(result, self.metric, "EarlyStopping")):
            self._worse = 0
            return None
        self._worse += 1
        if self._worse < self.patience:
            return None
        rounds = "round" if self.patience == 1 else "rounds"
        return f"{self.metric} has not become better for {self.patience} {rounds}"


class CheckpointError(XaynetError):
    """A file is no checkpoint, or cannot be used as one."""


@dataclass(frozen=True, slots=True, eq=False)
class SavedModel:
    """What :func:`load_checkpoint` has found."""

    #: The global model: give it to ``simulate`` or ``Coordinator`` as ``initial_model``.
    model: Any
    #: The coordinator's number of its round.
    round_id: int
    #: The metrics of that round.
    metrics: Mapping[str, float]
    #: How the model's arrays lie in the vector, if that was saved.
    layout: Layout | None

    def load_into(self, model: Any) -> Any:
        """Loads the weights into a model (a PyTorch module, a Keras model, an estimator); needs a layout."""
        if self.layout is None:
            raise CheckpointError(
                "this checkpoint has no layout: save it with Checkpoint(path, layout=layout), or call unflatten yourself"
            )
        return self.layout.unflatten(self.model, into=model)


class Checkpoint(Callback):
    """Keeps the global model in a file, which is replaced as a whole after each round.

    Args:
        path: ``model.npz`` (NumPy), or ``model.safetensors`` (needs the package safetensors). With ``{round}`` in it there is
            a file for each round.
        best: Keep only the model with the best value of this metric, instead of the latest.
        mode: What is better, as for :class:`EarlyStopping`.
        layout: Kept along, so that :meth:`SavedModel.load_into` needs nothing else.
    """

    def __init__(
        self,
        path: _Path,
        *,
        best: str | None = None,
        mode: Literal["min", "max"] | None = None,
        layout: Layout | None = None,
    ) -> None:
        self._path = os.fspath(path)
        self._write = _writer(self._path)
        self._metric = best
        self._best = _Best(_mode_of(best or "", mode))
        self._layout = None if layout is None else layout.to_json()

    def on_round(self, result: RoundResult, model: _Array) -> None:
        if self._metric is not None:
            if not self._best.is_better(_metric(result, self._metric, "Checkpoint")):
                return
        about = {"round_id": result.round_id, "metrics": dict(result.metrics)}
        if self._layout is not None:
            about["layout"] = self._layout
        path = Path(self._path.replace("{round}", str(result.round_id)))
        path.parent.mkdir(parents=True, exist_ok=True)
        # Who is interrupted here has the file of before.
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                self._write(file, model, json.dumps(about))
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise


_ABOUT = "xaynet_sdk"


def _writer(path: str) -> Callable[[Any, _Array, str], None]:
    if path.endswith(".npz"):
        return _write_npz
    if path.endswith(".safetensors"):
        _safetensors()
        return _write_safetensors
    raise ValueError(f"a checkpoint is a file .npz or .safetensors, and {path!r} is neither")


def _write_npz(file: Any, model: _Array, about: str) -> None:
    import numpy as np

    np.savez(file, allow_pickle=False, model=model, **{_ABOUT: np.array(about)})


def _safetensors() -> Any:
    try:
        import safetensors.numpy  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError as error:
        raise ModuleNotFoundError(
            f"a file .safetensors needs the package safetensors, which cannot be imported ({error}): pip install "
            "safetensors, or take a file .npz",
            name="safetensors",
        ) from error
    return safetensors.numpy


def _write_safetensors(file: Any, model: _Array, about: str) -> None:
    file.write(_safetensors().save({"model": model}, metadata={_ABOUT: about}))


def load_checkpoint(path: _Path) -> SavedModel:
    """Reads what :class:`Checkpoint` has written. Nothing in the file is executed.

    Raises:
        CheckpointError: It is no such file.
        FileNotFoundError: There is none.
    """
    name = os.fspath(path)
    try:
        if name.endswith(".safetensors"):
            model, about = _read_safetensors(name)
        else:
            model, about = _read_npz(name)
        told = json.loads(about)
        layout = told.get("layout")
        return SavedModel(
            model,
            int(told["round_id"]),
            {str(key): float(value) for key, value in told["metrics"].items()},
            None if layout is None else Layout.from_json(layout),
        )
    except (FileNotFoundError, ModuleNotFoundError):
        raise
    except Exception as error:
        raise CheckpointError(f"{name} is no checkpoint of xaynet_sdk: {error}") from error


def _read_npz(path: str) -> tuple[_Array, str]:
    import numpy as np

    with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
        return arrays["model"], str(arrays[_ABOUT])


def _read_safetensors(path: str) -> tuple[_Array, str]:
    _safetensors()
    with importlib.import_module("safetensors").safe_open(path, framework="numpy") as file:
        return file.get_tensor("model"), (file.metadata() or {})[_ABOUT]


def _numbers(result: RoundResult) -> dict[str, float]:
    """All numbers of a round, as trackers take them."""
    numbers = {f"federation/{name}": float(value) for name, value in result.metrics.items()}
    numbers |= {f"federation/{name}": float(value) for name, value in result.counts.items()}
    numbers["federation/models"] = float(result.models)
    numbers["federation/seconds"] = result.seconds
    if result.samples is not None:
        numbers["federation/samples"] = result.samples
    return numbers


def _missing(package: str, error: ImportError) -> ModuleNotFoundError:
    return ModuleNotFoundError(
        f"{package} cannot be imported ({error}): pip install {package}", name=package
    )


class TensorBoard(Callback):
    """Writes all numbers of each round for TensorBoard (needs tensorboardX, or PyTorch with tensorboard).

    Args:
        log_dir: Where to.
    """

    def __init__(self, log_dir: _Path) -> None:
        try:
            from tensorboardX import SummaryWriter  # type: ignore[import-not-found, import-untyped, unused-ignore]
        except ImportError:
            try:
                from torch.utils.tensorboard import (  # type: ignore[import-not-found, import-untyped, no-redef, unused-ignore]
                    SummaryWriter,
                )
            except ImportError as error:
                raise _missing("tensorboardX", error) from error
        self._writer = SummaryWriter(os.fspath(log_dir))

    def on_round(self, result: RoundResult, model: _Array) -> None:
        for name, value in _numbers(result).items():
            self._writer.add_scalar(name, value, result.round_id)

    def on_end(self) -> None:
        self._writer.close()


class MLflow(Callback):
    """Logs all numbers of each round to MLflow, in the run that is active or a new one (needs mlflow)."""

    def __init__(self) -> None:
        try:
            import mlflow  # type: ignore[import-not-found, import-untyped, unused-ignore]
        except ImportError as error:
            raise _missing("mlflow", error) from error
        self._mlflow = mlflow

    def on_round(self, result: RoundResult, model: _Array) -> None:
        self._mlflow.log_metrics(_numbers(result), step=result.round_id)


class WandB(Callback):
    """Logs all numbers of each round to Weights & Biases (needs wandb).

    Args:
        run: What ``wandb.init`` has given; the current run by default.
    """

    def __init__(self, run: Any = None) -> None:
        if run is None:
            try:
                import wandb  # type: ignore[import-not-found, import-untyped, unused-ignore]
            except ImportError as error:
                raise _missing("wandb", error) from error
            run = wandb.run
            if run is None:
                raise ValueError(
                    "there is no current run of wandb: call wandb.init first, or give run="
                )
        self._run = run

    @classmethod
    def of_project(cls, project: str) -> WandB:
        """With a new run of a project."""
        try:
            import wandb  # type: ignore[import-not-found, import-untyped, unused-ignore]
        except ImportError as error:
            raise _missing("wandb", error) from error
        return cls(wandb.init(project=project))

    def on_round(self, result: RoundResult, model: _Array) -> None:
        self._run.log(_numbers(result), step=result.round_id)
