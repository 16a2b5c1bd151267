"""FedProx: local models are held back from drifting away from the global one.

Participants whose data differ pull their models apart, the more the longer they train. A term ``mu / 2 * |w - w_global|^2`` in
the local loss holds them together (Li et al., "Federated Optimization in Heterogeneous Networks", 2020). With ``mu=0`` it is
FedAvg; usual are values from 0.001 to 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

__all__ = ["proximal_gradient", "proximal_term"]


def proximal_term(local: Any, anchor: Any, mu: float) -> Any:
    """The term to be added to the loss: ``mu / 2`` times the squared distance between local weights and those of the global
    model.

    Takes NumPy arrays, PyTorch tensors (then gradients flow through it) and whatever else has arithmetic and ``sum()``, one
    or a list of each::

        anchor = [weights.detach().clone() for weights in net.parameters()]    # of the global model
        ...
        loss = criterion(net(inputs), labels) + proximal_term(net.parameters(), anchor, mu=0.01)

    Args:
        local: The weights that are trained.
        anchor: The same of the global model, in the same order.
        mu: How strongly.

    Raises:
        ValueError: There are more of one than of the other, or mu makes no sense.
    """
    mu = _checked(mu)
    terms = [((weights - fixed) ** 2).sum() for weights, fixed in _pairs(local, anchor)]
    if not terms:
        raise ValueError("there are no weights")
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total * (mu / 2)


def proximal_gradient(local: Any, anchor: Any, mu: float) -> Any:
    """What the term adds to the gradient: ``mu * (w - w_global)``, for training loops that have gradients and no loss. A list,
    if it was given lists."""
    mu = _checked(mu)
    if _is_one(local):
        [(weights, fixed)] = _pairs(local, anchor)
        return mu * (weights - fixed)
    return [mu * (weights - fixed) for weights, fixed in _pairs(local, anchor)]


def _is_one(weights: Any) -> bool:
    return hasattr(weights, "shape")


def _pairs(local: Any, anchor: Any) -> list[tuple[Any, Any]]:
    if _is_one(local):
        local, anchor = [local], [anchor]
    if not isinstance(local, Iterable) or not isinstance(anchor, Iterable):
        raise TypeError("weights are an array or tensor, or a list of them")
    locals_, anchors = list(local), list(anchor)
    if len(locals_) != len(anchors):
        raise ValueError(
            f"there are {len(locals_)} local arrays, and {len(anchors)} of the global model"
        )
    for index, (weights, fixed) in enumerate(zip(locals_, anchors, strict=True)):
        if tuple(weights.shape) != tuple(fixed.shape):
            raise ValueError(
                f"array {index} has shape {tuple(weights.shape)}, and that of the global model {tuple(fixed.shape)}"
            )
    return list(zip(locals_, anchors, strict=True))


def _checked(mu: float) -> float:
    number = float(mu)
    if not 0 <= number < math.inf:
        raise ValueError(f"mu is a number that is not negative, and {mu!r} is not")
    return number
