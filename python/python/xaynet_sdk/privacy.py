"""Noise that participants add themselves, for rounds whose coordinator adds none.

Masks hide each local model, and the sum comes out exactly; so the sum tells what it tells, and rounds in which one person's data
are in it differ from rounds in which they are not. Noise makes that difference small, and differential privacy says how small.
In version 2 of the protocol the groups add it (:class:`xaynet_sdk.Noise`). Here each participant adds its share, before its
model is masked (the distributed discrete Gaussian of Kairouz, Liu and Steinke, "The Distributed Discrete Gaussian Mechanism for
Federated Learning with Secure Aggregation", 2021)::

    mask = "Word32/F32/B2/M3"
    noise = ClientNoise(clip=0.5, multiplier=1.0, participants=200, mask=mask)

    def train(global_model):
        local = ...
        return noise.add(local, global_model)

    noise.epsilon(rounds=100, delta=1e-5)   # needs dp-accounting

**What it gives.** Of whoever sees the global models of all these rounds, and does not collude: what he can find out about what one
participant has learnt in a round (all of its data at once), compared with its having learnt nothing, is limited by epsilon and
delta, if each round has the models of at least ``participants`` who add this noise. Nobody checks that they do: participants that leave
it out, or collude with the observer, take their share away; ``epsilon(honest=...)`` says what is left. The coordinator knows who takes
part, so that no privacy is gained by participants being drawn. How long the drawing takes depends on what is drawn.

Noise that is rounded, or cut off, after it was added is no longer what is accounted for: so the sum must be exactly what was added up.
Models are multiples of a step that the mask and its type of floats have exactly, which only the ``Word32`` and ``Word64`` masks
offer, and weights that come too close to the mask's bound are refused.

All models have to count the same: leave scalars at 1, and let a :class:`xaynet_sdk.WeightedMean`, if there is one, have no
samples, metrics or counts that are not to be known (they get no noise).

**What it costs.** The mean of n models gets noise of ``clip * multiplier / sqrt(n * participants)`` in each weight (see
:meth:`ClientNoise.deviation`), so it is of use where n is large compared with ``sqrt(weights) * multiplier``.
"""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from xaynet_sdk._numbers import whole
from xaynet_sdk._types import Weights
from xaynet_sdk._unmasked import Encoding
from xaynet_sdk.xaynet_sdk import _discrete_gaussian

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["ClientNoise"]

# Of a participant's noise, in steps: with so many, the sum of discrete Gaussians is a discrete Gaussian but for less than
# a double can say.
_LEAST_SIGMA = 16
# How many deviations of its noise a weight has to be away from the bound: beyond is one of 10^32.
_TAILS = 12
# How much rounding to steps may add to the clip.
_ROUNDING = 1 / 128


@dataclass(frozen=True, slots=True)
class ClientNoise:
    """Clips what a participant has learnt, and adds its share of the noise.

    Args:
        clip: The largest norm (L2) of the difference between a local model and the global one that it was trained from; of a
            larger difference that much is left. About the median of such norms is a good value.
        multiplier: How much noise all of them add together, as a multiple of the clip: 1 is usual.
        participants: How many add it, in every round, at least: the coordinator's ``pet.update.count.min``, or fewer.
        mask: The coordinator's mask, one of ``Word32`` or ``Word64``.

    Raises:
        ValueError: A number makes no sense, or the mask is none for this.
    """

    clip: float
    multiplier: float
    participants: int
    mask: str = "Word32/F32/B0/M3"
    _encoding: Encoding = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("clip", "multiplier"):
            value = float(getattr(self, name))
            if not 0 < value < math.inf:
                raise ValueError(f"{name} is a positive number, and {value} is not")
            object.__setattr__(self, name, value)
        whole("participants", self.participants, 1)
        encoding = Encoding(self.mask)
        if not self.mask.lower().startswith("word") or encoding.steps is None:
            raise ValueError(
                f"the noise would not be whole behind {self.mask}: use a mask of Word32 or Word64, such as "
                "Word32/F32/B2/M3, or Word64/F64/B2/M3 where finer steps are needed"
            )
        object.__setattr__(self, "_encoding", encoding)

    def step(self, length: int) -> float:
        """What weights are rounded to multiples of, for so many of them: a power of two, far smaller than the noise.

        Raises:
            ValueError: The mask has no steps that are so small.
        """
        share = self.clip * self.multiplier / math.sqrt(self.participants)
        rounding = 2 * self.clip * _ROUNDING / math.sqrt(whole("length", length, 1))
        step = float(2.0 ** math.floor(math.log2(min(share / _LEAST_SIGMA, rounding))))
        finest = self._finest()
        if step < finest:
            raise ValueError(
                f"with {length} weights models would be multiples of {step:.3g}, and those of {self.mask} are multiples of "
                f"{finest:.3g}: use a smaller bound, Word64 with F64, or a larger clip"
            )
        return step

    def _finest(self) -> float:
        """The smallest step that mask and floats have exactly, up to the bound."""
        bits = 24 if self._encoding.dtype == "f4" else 53
        return max(1 / (self._encoding.steps or 1), float(self._encoding.bound or 1) / 2.0**bits)

    def sigma(self, length: int) -> int:
        """The sigma of a participant's noise for so many weights, in steps.

        Differences are rounded to steps, each weight by half a step at most: the clip grows by that, and the noise with it.
        """
        sensitivity = self.clip / self.step(length) + math.sqrt(length) / 2
        return math.ceil(self.multiplier * sensitivity / math.sqrt(self.participants))

    def deviation(self, length: int, models: int | None = None) -> float:
        """The standard deviation of each weight of the mean of so many models (by default as many as ``participants``) that comes
        of the noise."""
        count = self.participants if models is None else whole("models", models, 1)
        return self.sigma(length) * self.step(length) / math.sqrt(count)

    def add(self, local: Weights, global_model: Weights | None) -> npt.NDArray[np.floating[Any]]:
        """The model to be masked: the global one, and the difference of the local one from it, clipped and with noise.

        Args:
            local: What training has come to.
            global_model: What it began with. Where there is none yet, all must begin with the same weights, which
                everybody may know: give these.

        Raises:
            ValueError: They are not of one shape, there are weights that are no numbers, or the mask has no room for them.
        """
        import numpy as np

        if global_model is None:
            raise ValueError(
                "there is no global model yet: begin the federation with an initial model, or give the weights that all "
                "participants begin with"
            )
        after = np.asarray(local).astype(np.float64)
        before = np.asarray(global_model).astype(np.float64)
        if after.shape != before.shape or after.ndim != 1:
            raise ValueError(
                f"the local model has shape {after.shape}, and the global one {before.shape}: both are one flat vector"
            )
        difference = after - before
        norm = float(np.linalg.norm(difference))
        if not math.isfinite(norm):
            raise ValueError(
                "the models have weights that are not finite numbers, or too large ones"
            )
        step, sigma = self.step(len(difference)), self.sigma(len(difference))
        # Everybody knows the global model, so that it may be rounded. With room for the noise: cut off it would be less.
        whole_steps = np.rint(before / step)
        room = float(self._encoding.bound or 1) - self.clip - _TAILS * sigma * step
        if room <= 0 or float(np.abs(before).max()) > room:
            raise ValueError(
                f"the global model has weights up to {float(np.abs(before).max()):.3g}, and with the clip and the noise those of "
                f"{self.mask} have room for {max(room, 0.0):.3g}: use a mask with a larger bound"
            )
        if norm > self.clip:
            # A little less than the clip, so that it is not more for having been rounded.
            difference *= self.clip / norm * (1 - 2.0**-40)
        whole_steps += np.rint(difference / step)
        whole_steps += _discrete_gaussian(sigma, len(difference))
        model: npt.NDArray[np.floating[Any]] = (whole_steps * step).astype(self._encoding.dtype)
        return model

    def epsilon(self, rounds: int, delta: float, *, honest: int | None = None) -> float:
        """The privacy that a participant has used up after so many rounds in which it has trained: epsilon for this delta.

        Uses Google's ``dp-accounting`` (``pip install dp-accounting``), with Rényi differential privacy. Adjacent are rounds
        in which the participant has learnt what it has, and nothing (it takes part in both); compared with any other model the
        clip counts twice.

        Args:
            rounds: In how many rounds it has trained.
            delta: Far less than one divided by the number of participants.
            honest: How many others at least add the noise and keep it to themselves, and it: by default ``participants``.
        """
        whole("rounds", rounds, 0)
        if not 0 < float(delta) < 1:
            raise ValueError(f"delta is between 0 and 1, and {delta!r} is not")
        count = self.participants if honest is None else whole("honest", honest, 0)
        if rounds == 0:
            return 0.0
        if count == 0:
            return math.inf
        try:
            accounting: Any = importlib.import_module("dp_accounting")
            rdp: Any = importlib.import_module("dp_accounting.rdp")
        except ImportError as error:
            raise ModuleNotFoundError(
                f"the accountant needs dp-accounting, which cannot be imported ({error}): install it with "
                "pip install 'xaynet-sdk[privacy]'",
                name="dp_accounting",
            ) from error
        effective = self.multiplier * math.sqrt(min(count, self.participants) / self.participants)
        accountant = rdp.RdpAccountant()
        accountant.compose(accounting.GaussianDpEvent(effective), rounds)
        return float(accountant.get_epsilon(delta))
