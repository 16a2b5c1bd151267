"""The command ``xaynet``: a coordinator, participants and simulations without a program of one's own."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from xaynet_sdk.cli.options import Mistake, say_error
from xaynet_sdk.xaynet_sdk import XaynetError, __version__

__all__ = ["main"]


def _parser() -> argparse.ArgumentParser:
    from xaynet_sdk.cli import doctor, looking, running

    parser = argparse.ArgumentParser(
        prog="xaynet",
        description="Federated learning in which only the sum of all models is ever revealed.",
        epilog="xaynet COMMAND --help says more.",
    )
    parser.add_argument("--version", action="version", version=f"xaynet-sdk {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in (running, looking, doctor):
        module.add(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; gives the status that the process ends with: 0, 1 if something is wrong, 2 for wrong arguments, 130 after
    Ctrl-C."""
    chosen = _parser().parse_args(arguments)
    try:
        status: int = chosen.run(chosen)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read along has enough; nothing more is to be written, at exit either.
        sys.stdout = None
        return 1
    except Mistake as error:
        say_error(str(error))
        return 2
    except (XaynetError, TimeoutError, ModuleNotFoundError) as error:
        say_error(str(error))
        return 1
    return status
