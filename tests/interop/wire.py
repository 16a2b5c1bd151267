"""What the coordinator serves over HTTP, read byte by byte as the specification has it (section 3)."""

from __future__ import annotations

import http.client
import struct
from dataclasses import dataclass
from fractions import Fraction

PARAMETERS_LENGTH = 136


@dataclass(frozen=True)
class RoundParameters:
    public_key: bytes
    sum_probability: float
    update_probability: float
    seed: str
    mask_config: tuple[int, ...]
    model_length: int


def read_parameters(body: bytes) -> RoundParameters:
    if len(body) != PARAMETERS_LENGTH:
        raise ValueError(f"round parameters have {PARAMETERS_LENGTH} bytes, not {len(body)}")
    key_length, public_key, sum_probability, update_probability = struct.unpack_from(
        "<Q32sdd", body
    )
    seed_length, seed = struct.unpack_from("<Q32s", body, 56)
    if (key_length, seed_length) != (32, 32):
        raise ValueError(f"key and seed have 32 bytes, not {key_length} and {seed_length}")
    mask_config = struct.unpack_from("<8I", body, 96)
    (model_length,) = struct.unpack_from("<Q", body, 128)
    return RoundParameters(
        public_key, sum_probability, update_probability, seed.hex(), mask_config, model_length
    )


def read_model(body: bytes) -> list[Fraction]:
    """A model as exact fractions: num-bigint's serde form of each numerator and denominator."""
    offset = 0

    def unpack(layout: str) -> int:
        nonlocal offset
        (value,) = struct.unpack_from(layout, body, offset)
        offset += struct.calcsize(layout)
        return int(value)

    def big_integer() -> int:
        sign = unpack("<b")
        digits = [unpack("<I") for _ in range(unpack("<Q"))]
        return sign * sum(digit << (32 * place) for place, digit in enumerate(digits))

    weights = []
    for _ in range(unpack("<Q")):
        numerator = big_integer()
        weights.append(Fraction(numerator, big_integer()))
    if offset != len(body):
        raise ValueError(f"{len(body) - offset} bytes follow the model")
    return weights


def get(address: str, path: str, timeout: float = 10.0) -> bytes | None:
    """The body of a 200, None for a 204; anything else raises."""
    connection = http.client.HTTPConnection(address, timeout=timeout)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()
    if response.status == 204:
        return None
    if response.status != 200:
        raise ConnectionError(f"GET {path} was answered {response.status}: {body[:200]!r}")
    return body
