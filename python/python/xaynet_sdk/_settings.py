"""A coordinator's settings, as the native module takes them."""

from __future__ import annotations

from collections.abc import Mapping

from xaynet_sdk.xaynet_sdk import CoordinatorInit

_MASK = ("mask.group_type", "mask.data_type", "mask.bound_type", "mask.model_type")


def flat_settings(
    model_length: int, mask: str | None, settings: Mapping[str, object] | None
) -> list[tuple[str, str]]:
    """Dotted keys and their values as text; nested tables are taken, too."""
    flat: dict[str, str] = {"model.length": str(model_length)}
    if mask is not None:
        names = mask.split("/")
        if len(names) != len(_MASK):
            raise CoordinatorInit(
                f"mask is {mask!r}, and must be a group, a data type, a bound and a number of models, "
                "such as Prime/F32/B0/M3"
            )
        flat.update(zip(_MASK, names, strict=True))
    flat.update(_flatten("", settings or {}))
    return list(flat.items())


def _flatten(prefix: str, table: Mapping[str, object]) -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            flat.update(_flatten(f"{prefix}{key}.", value))
        else:
            flat[prefix + key] = str(value)
    return flat
