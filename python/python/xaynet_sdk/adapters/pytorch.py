"""PyTorch modules of which only a part is trained: adapters such as LoRA, a new head on a frozen body.

Only what is trained has to go through the federation. For a transformer with LoRA that is a hundredth of its weights or less::

    weights = TrainableWeights(model)   # after peft.get_peft_model, or requires_grad_(False) on the rest
    len(weights)                        # the coordinator's model.length
    vector = weights.read()
    weights.write(global_model)
"""

from __future__ import annotations

from typing import Any

from xaynet_sdk._layout_error import LayoutError
from xaynet_sdk.layout import Layout, flatten, unflatten

__all__ = ["AllWeights", "TrainableWeights", "weights_of"]


class TrainableWeights:
    """The parameters of a module that require gradients, as one vector.

    Which they are is found out once: all participants have to have the same (compare :attr:`layout`'s fingerprint). What is not trained, and
    buffers such as the running means of batch normalization, have to be the same everywhere, or stay each participant's own.

    Raises:
        LayoutError: Nothing in it is trained.
    """

    def __init__(self, module: Any) -> None:
        self._module = module
        self._names = [name for name, weights in module.named_parameters() if weights.requires_grad]
        if not self._names:
            raise LayoutError("nothing in this module is trained: no parameter requires gradients")
        self._layout = flatten(self._trained())[1]

    @property
    def layout(self) -> Layout:
        """How they lie in the vector."""
        return self._layout

    def __len__(self) -> int:
        return len(self._layout)

    def read(self) -> Any:
        """The weights as they are."""
        return self._layout.flatten(self._trained())

    def write(self, vector: Any) -> None:
        """Loads weights, where the module has them: on whichever device, without gradients."""
        import torch  # type: ignore[import-not-found, import-untyped, unused-ignore] # pyright: ignore[reportMissingImports]

        own = dict(self._module.named_parameters())
        with torch.no_grad():
            for name, weights in unflatten(vector, self._layout).items():
                own[name].copy_(weights)

    def _trained(self) -> dict[str, Any]:
        own = dict(self._module.named_parameters())
        return {name: own[name].detach() for name in self._names}


class AllWeights:
    """All weights of a module, buffers included, as one vector: what :func:`xaynet_sdk.flatten` makes of it."""

    def __init__(self, module: Any) -> None:
        self._module = module
        self._layout = flatten(module)[1]

    @property
    def layout(self) -> Layout:
        """How they lie in the vector."""
        return self._layout

    def __len__(self) -> int:
        return len(self._layout)

    def read(self) -> Any:
        """The weights as they are."""
        return self._layout.flatten(self._module)

    def write(self, vector: Any) -> None:
        """Loads weights."""
        unflatten(vector, self._layout, into=self._module)


def weights_of(module: Any, which: str) -> AllWeights | TrainableWeights:
    """``all`` of a module's weights, or those that are ``trainable``."""
    if which == "all":
        return AllWeights(module)
    if which == "trainable":
        return TrainableWeights(module)
    raise ValueError(f'weights are "all" or "trainable", and not {which!r}')
