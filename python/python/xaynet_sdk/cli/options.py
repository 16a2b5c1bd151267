"""What several commands take and say."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any
from zipfile import BadZipFile

from xaynet_sdk.history import RoundResult
from xaynet_sdk.tls import Tls


class Mistake(Exception):
    """Arguments that make no sense."""


def say(text: str = "") -> None:
    """Writes a line for people."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def tell_round(done: RoundResult) -> None:
    """Writes a line about a round."""
    metrics = "".join(f"  {name} {value:.6g}" for name, value in done.metrics.items())
    failures = f"  ({len(done.failures)} failed before)" if done.failures else ""
    say(f"round {done.round_id}: {done.models} models{metrics}  {done.seconds:.2f} s{failures}")


def say_error(text: str) -> None:
    """Writes a line about what is wrong."""
    sys.stderr.write(f"xaynet: {text}\n")


def add_url(parser: argparse.ArgumentParser) -> None:
    """The coordinator's URL, and whom to trust there."""
    parser.add_argument("url", metavar="URL", help="the coordinator, such as http://127.0.0.1:8081")
    group = parser.add_argument_group("TLS")
    group.add_argument("--ca", metavar="FILE", help="trust these authorities (PEM), and no others")
    group.add_argument("--certificate", metavar="FILE", help="the certificate to show (PEM)")
    group.add_argument("--key", metavar="FILE", help="its private key (PEM)")


def tls_of(chosen: argparse.Namespace) -> Tls | None:
    """What was said about TLS."""
    if chosen.ca is None and chosen.certificate is None and chosen.key is None:
        return None
    return Tls(ca=chosen.ca, certificate=chosen.certificate, key=chosen.key)


def add_set(parser: argparse.ArgumentParser) -> None:
    """Settings of the coordinator."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="any setting of the coordinator, such as pet.sum.prob=0.4; may be repeated",
    )


def settings_of(chosen: argparse.Namespace) -> dict[str, object]:
    """The settings that were given."""
    settings: dict[str, object] = {}
    for each in chosen.set:
        key, equals, value = each.partition("=")
        if not equals or not key:
            raise Mistake(f"--set takes KEY=VALUE, such as pet.sum.prob=0.4, and not {each!r}")
        settings[key] = value
    return settings


def load_model(path: str) -> Any:
    """The weights in a NumPy file, as one flat vector.

    Raises:
        Mistake: It is not there, or is something else.
    """
    import numpy as np

    try:
        weights = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise Mistake(f"cannot read the model {path}: {error}") from None
    if not isinstance(weights, np.ndarray):
        raise Mistake(f"{path} has several arrays: a model is one vector, in a .npy file")
    return weights.ravel()


def load_program(path: str) -> ModuleType:
    """Runs a Python file, and gives its names.

    Raises:
        Mistake: There is no such file. What the file itself raises comes through.
    """
    file = Path(path)
    if not file.is_file():
        raise Mistake(f"there is no file {path}")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise Mistake(f"{path} is no Python file: its name has to end with .py")
    program = importlib.util.module_from_spec(spec)
    # So that what the file defines can be pickled, and it finds its neighbours.
    sys.modules.setdefault(file.stem, program)
    sys.path.insert(0, str(file.parent.resolve()))
    spec.loader.exec_module(program)
    return program


def named(program: ModuleType, name: str, path: str) -> Any:
    """A name of a program that has to be there."""
    try:
        return getattr(program, name)
    except AttributeError:
        raise Mistake(f"{path} defines no {name}") from None
