"""``python -m paper_reproduction [NAME ...] [--scale smoke|laptop|paper] [--out DIR]``."""

import argparse
import pathlib
import sys
from collections.abc import Sequence

from paper_reproduction import look_back, parity_mlp
from paper_reproduction.reproduce import chosen, reproduce
from simulator import StoreError
from theory import LossTableError

REPRODUCTIONS = {"look_back": look_back.REPRODUCTION, "parity_mlp": parity_mlp.REPRODUCTION}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the reproductions named, all by default."""
    parser = argparse.ArgumentParser(prog="python -m paper_reproduction", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(REPRODUCTIONS)} (default: all)")
    parser.add_argument("--scale", choices=("smoke", "laptop", "paper"), default="laptop", help="default: laptop")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("results"), help="default: results")
    options = parser.parse_args(arguments)
    try:
        for name, reproduction in chosen(REPRODUCTIONS, options.names).items():
            reproduce(name, reproduction, options.scale, options.out)
    except (StoreError, LossTableError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; finished runs are kept, the same command continues", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
