"""``python -m paper_reproduction [NAME ...] [--scale smoke|laptop|paper] [--out DIR] [--workers N]``."""

import argparse
import pathlib
import sys
from collections.abc import Sequence

from paper_reproduction.reproduction import exit_status, names, reproduce
from simulator.machine.workers import best_workers

MAIN = ("gallery", "look_back", "parity_mlp")
"""What is made if no name is given."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the named reproductions, by default those of the main job."""
    parser = argparse.ArgumentParser(prog="python -m paper_reproduction", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"one of {', '.join(names())} (default: {', '.join(MAIN)})"
    )
    parser.add_argument("--scale", choices=("smoke", "laptop", "paper"), default="laptop", help="default: laptop")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("results"), help="default: results")
    parser.add_argument("--workers", type=int, help="processes, one core each (all cores; 1 at scale smoke)")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in names()]
    if unknown:
        parser.error(f"unknown reproduction {', '.join(unknown)}; there are: {', '.join(names())}")

    def work() -> None:
        workers = options.workers
        if workers is None:
            workers = 1 if options.scale == "smoke" else best_workers()
        for name in options.names or MAIN:
            reproduce(name, options.scale, options.out, workers)

    return exit_status(work)


if __name__ == "__main__":
    sys.exit(main())
