"""The error of layouts, which several modules raise."""

from __future__ import annotations

from xaynet_sdk.xaynet_sdk import XaynetError


class LayoutError(XaynetError, ValueError):
    """A model does not have the layout that it should have, or has what cannot be in a vector."""
