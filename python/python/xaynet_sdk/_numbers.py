"""Numbers that users give, looked at before they do harm."""

from __future__ import annotations

import math
import operator

from xaynet_sdk.xaynet_sdk import XaynetError


def whole(
    name: str, value: object, least: int, error: type[ValueError | XaynetError] = ValueError
) -> int:
    """A whole number from ``least`` on."""
    wrong = f"{name} is a whole number from {least} on, and not {short(value)}"
    # A truth value is no number that anybody means.
    if isinstance(value, bool):
        raise error(wrong)
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise error(wrong) from None
    if number < least:
        raise error(wrong)
    return number


def seconds(name: str, value: object, error: type[ValueError | XaynetError] = ValueError) -> float:
    """A time: a number of seconds that is not negative; infinity is for ever."""
    wrong = f"{name} is a number of seconds that is not negative, and not {short(value)}"
    if isinstance(value, bool):
        raise error(wrong)
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        raise error(wrong) from None
    # NaN is neither.
    if not number >= 0 or isinstance(value, str):
        raise error(wrong)
    return number


def short(value: object) -> str:
    """What was given, in a few characters: 1e300 has 301 digits."""
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.6g}"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
