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
        if not isinstance(mask, str):
            raise CoordinatorInit(f"mask is {mask!r}, and must be a str, such as Prime/F32/B0/M3")
        names = mask.split("/")
        if len(names) != len(_MASK):
            raise CoordinatorInit(
                f"mask is {mask!r}, and must be a group, a data type, a bound and a number of models, "
                "such as Prime/F32/B0/M3"
            )
        flat.update(zip(_MASK, names, strict=True))
    flat.update(_flatten("", settings or {}))
    return list(flat.items())


def with_defaults(
    defaults: Mapping[str, object], settings: Mapping[str, object] | None
) -> dict[str, object]:
    """The settings, and where they say nothing, the defaults."""
    return {**defaults, **_checked({} if settings is None else settings)}


def _checked(table: Mapping[str, object]) -> Mapping[str, object]:
    if not isinstance(table, Mapping) or not all(isinstance(key, str) for key in table):
        raise CoordinatorInit(
            f"settings are a dict of dotted keys, such as {{'pet.sum.prob': 0.4}}, not {table!r}"
        )
    return table


def _flatten(prefix: str, table: Mapping[str, object]) -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in _checked(table).items():
        if isinstance(value, bool):
            # As settings files have it.
            flat[prefix + key] = str(value).lower()
        elif isinstance(value, Mapping):
            flat.update(_flatten(f"{prefix}{key}.", value))
        else:
            flat[prefix + key] = str(value)
    return flat
