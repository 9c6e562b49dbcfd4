"""``python -m paper_reproduction [NAME ...] [--scale smoke|laptop|paper] [--out DIR]``."""

import argparse
import pathlib
import sys
from collections.abc import Sequence

from paper_reproduction import gallery, look_back, parity_mlp
from paper_reproduction.reproduce import Scale, reproduce
from simulator import StoreError
from theory import LossTableError

STUDIES = {"look_back": look_back.REPRODUCTION, "parity_mlp": parity_mlp.REPRODUCTION}
NAMES = ("gallery", *STUDIES)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the reproductions named, all by default."""
    parser = argparse.ArgumentParser(prog="python -m paper_reproduction", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(NAMES)} (default: all)")
    parser.add_argument("--scale", choices=("smoke", "laptop", "paper"), default="laptop", help="default: laptop")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("results"), help="default: results")
    options = parser.parse_args(arguments)
    try:
        for name in chosen(options.names):
            _make(name, options.scale, options.out)
    except (StoreError, LossTableError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; finished runs are kept, the same command continues", file=sys.stderr)
        return 130
    return 0


def chosen(wanted: Sequence[str]) -> list[str]:
    """The names asked for, all if none is."""
    unknown = [name for name in wanted if name not in NAMES]
    if unknown:
        raise SystemExit(f"unknown reproduction {', '.join(unknown)}; there are: {', '.join(NAMES)}")
    return list(wanted or NAMES)


def _make(name: str, scale: Scale, out: pathlib.Path) -> None:
    if name == "gallery":
        gallery.draw_gallery(scale, out / scale / name)
    else:
        reproduce(name, STUDIES[name], scale, out)


if __name__ == "__main__":
    sys.exit(main())
