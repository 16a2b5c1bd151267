"""A whole federation in this process, in virtual time: nothing waits, no port is opened.

Participants and coordinator are the real state machines, and models are really masked; only the network is
left out, and what protects messages on it, and time passes as quickly as the machines get on.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from xaynet_sdk._federation import Federation, Sealed, SimulationError, Trainer
from xaynet_sdk._numbers import whole
from xaynet_sdk._progress import progress_of
from xaynet_sdk._types import Weights
from xaynet_sdk._unmasked import PlainFederation, SampledClients
from xaynet_sdk.aggregation import WeightedMean
from xaynet_sdk.callbacks import AnyCallback, Callbacks
from xaynet_sdk.history import History, RoundResult, joined_metrics, measured
from xaynet_sdk.optimizers import ServerOptimizer
from xaynet_sdk.participant import ParticipantABC
from xaynet_sdk.pin import Budget, Noise

if TYPE_CHECKING:
    import numpy.typing as npt

    _Array: TypeAlias = npt.NDArray[Any]

__all__ = ["SimulatedRound", "Simulation", "SimulationError", "simulate"]

#: The outcome of a simulated round.
SimulatedRound: TypeAlias = RoundResult


# Not to be compared: arrays have no truth value.
@dataclass(slots=True, eq=False)
class Simulation(History):
    """The result of :func:`simulate`. A notebook shows it as a table; :meth:`plot` draws it."""

    #: Where the federation's machines are, secret keys included: what ``simulate(..., resume=...)`` goes on from.
    state: bytes | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        return History.__repr__(self)


def simulate(
    participants: Iterable[Trainer],
    *,
    model_length: int,
    rounds: int = 10,
    scalars: Sequence[float] | None = None,
    mask: str | None = None,
    settings: Mapping[str, object] | None = None,
    evaluate: Callable[[_Array], Mapping[str, float] | float] | None = None,
    seed: int = 0,
    progress: bool | Callable[[SimulatedRound], object] = True,
    keep_models: bool = False,
    max_failures: int = 100,
    threads: int | None = None,
    resume: Simulation | None = None,
    protocol: Literal["v1", "v2"] = "v1",
    groups: int = 3,
    members: int = 3,
    noise: Noise | None = None,
    budget: Budget | None = None,
    initial_model: Weights | None = None,
    aggregation: WeightedMean | None = None,
    callbacks: Iterable[AnyCallback] = (),
    optimizer: ServerOptimizer | None = None,
    masked: bool = True,
    envelopes: bool = False,
    sampling: SampledClients | None = None,
    parallel: int | Executor | None = None,
) -> Simulation:
    """Runs a federation of this process's participants for some rounds.

    Participants are trained one after another. Which of them take part in a round, and as what, is drawn
    as in reality; the same seed gives the same draws, and with deterministic training the same models.

    Masks, mask seeds and their dictionaries, the sums and all rules of the protocol are real. What is left out, unless
    ``envelopes`` says otherwise, is what protects messages from others on the network: signature and seal of each, and the
    seals of mask seeds. That changes no number, and is most of the work where models are short.

    Of a simulation that is interrupted, what there is is not lost: the exception that comes out (KeyboardInterrupt,
    SimulationError or a participant's own) has it as its attribute ``simulation``, and ``resume`` goes on from there::

        try:
            result = simulate(participants, model_length=10, rounds=1000)
        except KeyboardInterrupt as stopped:
            result = stopped.simulation
        result = simulate(participants, model_length=10, rounds=1000, resume=result)

    Args:
        participants: Instances of classes derived from :class:`xaynet_sdk.ParticipantABC`, or functions
            from the global model (an array, or None in the first round) to a local one (None: not this
            time). At least four, for there must be three models and one who sums.
        model_length: How many weights a model has.
        rounds: After how many global models to end.
        scalars: How much each participant's models count, such as its share of the samples.
        mask: How models are masked, such as ``Prime/F32/B2/M3``.
        settings: Any of the coordinator's settings, by dotted keys, such as ``{"pet.sum.prob": 0.4}``;
            times are virtual seconds. Unless it is given, the probability of being drawn to sum is 0.3, or less
            where that would draw more than ten on average.
        evaluate: What to measure of each global model: a number, or several by name.
        seed: For the draws and all keys. Keys that follow from a number are no secret: simulate only.
        progress: Show it (with tqdm if that is installed), or what to call after every round.
        keep_models: Keep the global model of each round, not of the last one only.
        max_failures: After so many rounds that fail in a row, give up.
        threads: How many threads mask; all by default.
        resume: What an earlier call has given, or an exception's ``simulation``: goes on from there, with the same
            participants (which keep what they have learnt), until there are ``rounds`` rounds in all. Length, mask and
            settings of the coordinator are those of the earlier call; scalars may be others.
        protocol: ``v2`` for sealed groups: nobody is drawn, all participants train, and a committee that is simulated as
            well takes the masks off. At least three participants; masks are ``Word32`` or ``Word64`` (by default
            ``Word32/F32/B0/M3``). Neither ``settings`` nor ``resume`` are for it.
        groups, members: Version 2: how many groups the committee has, and how many members a group (an odd number).
        noise: Version 2: noise for differential privacy. What is masked is then the difference of a local model from
            the global one, clipped; the bound has to be ``B0``, and scalars 1. It is useful only for many more participants
            than ``sqrt(groups * model_length) * multiplier``.
        budget: Version 2: each participant's privacy budget; when it is spent they stop, and the simulation with them.
        initial_model: What participants begin with, instead of None: to fine-tune a model, or to go on with one.
        aggregation: How models are weighted, and what is summed beside them: then participants give a
            :class:`xaynet_sdk.Update`, with a model of ``model_length`` weights. Instead of ``scalars``.
        callbacks: What to call after each round: see :mod:`xaynet_sdk.callbacks`.
        optimizer: What becomes of the mean of a round, such as :class:`xaynet_sdk.FedAdam`: then the global model is a step
            from the last one towards the mean. Without it (and in the first round, if there is no ``initial_model``) it is
            the mean. It is not changed: a simulation has a copy, with a state of its own. A strategy of Flower's is one, too:
            see :class:`xaynet_sdk.adapters.flower.FlowerStrategy`.
        masked: False for a simulation without masks, which is much faster: nobody sums, all others train as they do with masks.
            With 32-bit floats and a scalar of 1 the same participants' models give the same global model to the last bit,
            otherwise nearly the same. No machines run, so that ``protocol``, ``settings`` and ``threads`` are not for it,
            in the rounds there are no votes, and nobody's ``on_update_outcome`` is called.
        envelopes: With masks: sign and seal all messages and mask seeds as well, and open and verify them, as on the network. The
            global models are the same.
        sampling: Without masks: who trains in a round. A share of the participants (0.1), a number of them (10), or a function
            of the round's number and the number of participants that gives their indices. By default all.
        parallel: Without masks: in how many processes participants train, who have to be functions then (of any kind if
            joblib is installed; otherwise such as can be pickled), or an executor of yours: anything with the interface of
            ``concurrent.futures.Executor``, such as a ThreadPoolExecutor, joblib's (loky's) ``get_reusable_executor()``, Dask's
            ``client.get_executor()``, or Ray by :class:`xaynet_sdk.adapters.ray.RayExecutor`. Whatever they are, models come in
            the participants' order, and few are in memory at a time.

    Raises:
        ValueError: A number makes no sense, or ``resume`` is of other participants.
        SimulationError: Rounds fail, ``max_failures`` in a row.
        Exception: Whatever a participant raises, unless its ``on_error`` returns True.
    """
    sealed = _sealed(protocol, groups, members, noise, budget, settings, resume)
    whole("model_length", model_length, 1)
    whole("rounds", rounds, 0)
    whole("max_failures", max_failures, 1)
    whole("threads", 1 if threads is None else threads, 1)
    if aggregation is not None and scalars is not None:
        raise ValueError(
            "with an aggregation, updates say themselves how much they count: give no scalars"
        )
    if noise is not None and (aggregation is not None or initial_model is not None):
        raise ValueError(
            "with noise, what is masked is a difference from the global model of the round before: it takes neither an "
            "aggregation nor an initial model"
        )
    if initial_model is not None and resume is not None:
        raise ValueError("a simulation that is resumed has a model: give no initial_model")
    initial = None if initial_model is None else _initial(initial_model, model_length)
    if masked and (sampling is not None or parallel is not None):
        raise ValueError(
            "sampling and parallel are for masked=False: with masks, who trains is drawn (see pet.update.prob in settings), and "
            "one trains after another"
        )
    if not masked and (sealed is not None or settings is not None or threads is not None):
        raise ValueError('protocol="v2", settings and threads are for simulations with masks')
    if envelopes and (not masked or sealed is not None):
        raise ValueError(
            'envelopes are for simulations with masks, and with protocol="v1": v2 always has them'
        )
    if optimizer is not None:
        if not isinstance(optimizer, ServerOptimizer):
            raise TypeError(f"optimizer is one such as FedAdam(), and not {optimizer!r}")
        if sealed is not None:
            raise ValueError(
                'in protocol="v2" members vouch for the mean of a round: there is no optimizer at the server'
            )
        optimizer = optimizer.begun_anew()
    told = Callbacks(callbacks)
    result = Simulation() if resume is None else dataclasses.replace(resume)
    result.rounds, result.models = list(result.rounds), list(result.models)
    result.stopped = None
    trainers = _trainers(participants)
    federation: Federation | PlainFederation
    if masked:
        federation = Federation(
            trainers,
            model_length,
            scalars,
            mask,
            settings,
            seed,
            threads or os.cpu_count() or 1,
            result.state,
            sealed,
            initial,
            aggregation,
            optimizer,
            envelopes,
        )
    else:
        federation = PlainFederation(
            trainers,
            model_length,
            scalars,
            mask,
            seed,
            result.state,
            initial,
            aggregation,
            optimizer,
            sampling,
            parallel,
        )
    if resume is not None and resume.state is None:
        raise ValueError("the simulation to be resumed has no state: give what simulate has given")
    try:
        with federation, told, progress_of(progress, rounds) as show:
            federation.begin()
            while len(result.rounds) < rounds and result.stopped is None:
                ended = federation.next_round(max_failures)
                model, aggregate = federation.model, federation.aggregate
                assert model is not None, "a completed round has a model"
                metrics = {} if evaluate is None else measured(evaluate(model.copy()))
                counts: dict[str, float] = {}
                samples = None
                if aggregate is not None:
                    samples = aggregate.samples * ended.models
                    counts = {name: mean * ended.models for name, mean in aggregate.counts.items()}
                    metrics = joined_metrics(aggregate.metrics, metrics)
                done = SimulatedRound(
                    ended.round_id,
                    ended.models,
                    ended.votes,
                    federation.seconds(),
                    federation.clamped,
                    federation.largest_clamped,
                    metrics,
                    tuple(federation.failures),
                    samples,
                    counts,
                )
                result.rounds.append(done)
                result.model = model
                if keep_models:
                    result.models.append(model)
                show(done)
                result.stopped = told.on_round(done, model)
    except BaseException as error:
        result.state = federation.state()
        # Not every exception takes an attribute; then there is nothing to be done.
        with suppress(AttributeError, TypeError):
            error.simulation = result  # type: ignore[attr-defined]
        raise
    result.state = federation.state()
    return result


def _sealed(
    version: object,
    groups: int,
    members: int,
    noise: Noise | None,
    budget: Budget | None,
    settings: object,
    resume: object,
) -> Sealed | None:
    if version not in ("v1", "v2"):
        raise ValueError(f'protocol is "v1" or "v2", not {version!r}')
    if version == "v1":
        if noise is not None or budget is not None:
            raise ValueError('noise and a budget are for protocol="v2"')
        return None
    whole("groups", groups, 1)
    whole("members", members, 1)
    if groups > 16 or members > 31 or members % 2 == 0:
        raise ValueError(
            f"a committee has 1 to 16 groups of an odd number of members, 31 at most: not {groups} of {members}"
        )
    if noise is not None and not isinstance(noise, Noise):
        raise TypeError(f"noise is a xaynet_sdk.Noise(multiplier, clip), not {noise!r}")
    if settings is not None:
        raise ValueError('settings are for protocol="v1"')
    if resume is not None:
        raise ValueError('a simulation with protocol="v2" cannot be resumed')
    return Sealed(groups, members, noise, budget)


def _trainers(participants: Iterable[Trainer]) -> list[Trainer]:
    trainers = list(participants)
    if not trainers:
        raise ValueError("there are no participants")
    for trainer in trainers:
        # An abstract class is callable, but makes no models.
        if isinstance(trainer, type) and issubclass(trainer, ParticipantABC):
            raise TypeError(
                f"simulate takes participants, not their class: give {trainer.__name__}(...) for each"
            )
        if not isinstance(trainer, ParticipantABC) and not callable(trainer):
            raise TypeError(
                "a participant is an instance of a class derived from ParticipantABC, or a function from "
                f"the global model to a local one, and not {type(trainer).__name__}"
            )
    return trainers


def _initial(model: Weights, model_length: int) -> _Array:
    import numpy as np

    initial = np.array(model)
    if initial.ndim != 1 or len(initial) != model_length:
        raise ValueError(
            f"the initial model is one flat vector of {model_length} weights, and not of shape {initial.shape}"
        )
    if initial.dtype.kind not in "fiu" or not np.isfinite(initial).all():
        raise ValueError("the initial model consists of finite numbers")
    return initial
