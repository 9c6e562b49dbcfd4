"""``python -m paper_reproduction [NAME ...] [--scale smoke|laptop|paper] [--out DIR] [--workers N]``."""

import argparse
import pathlib
import sys
from collections.abc import Sequence

from paper_reproduction import (
    bayes_risks,
    cache_compression,
    data_exponents,
    enough_data,
    estimator_audit,
    gallery,
    irrelevant_context,
    length_generalisation,
    linear_entropy_law,
    look_back,
    models_compared,
    optimal_context_laws,
    optimisation_dimension,
    parity_mlp,
    retrieval_windows,
    state_limits,
    statistical_gap,
    transformer_v4,
    two_branch,
)
from paper_reproduction.experiment import make_experiment
from paper_reproduction.reproduce import REFUSALS, Scale, reproduce
from simulator import Stopped
from simulator.machine.workers import best_workers

STUDIES = {"look_back": look_back.REPRODUCTION, "parity_mlp": parity_mlp.REPRODUCTION}
MAIN = ("gallery", *STUDIES)
"""Made if nothing is named."""
EXPERIMENTS = {
    "data_exponents": data_exponents.EXPERIMENT,
    "irrelevant_context": irrelevant_context.EXPERIMENT,
    "statistical_gap": statistical_gap.EXPERIMENT,
    "optimisation_dimension": optimisation_dimension.EXPERIMENT,
    "enough_data": enough_data.EXPERIMENT,
    "models_compared": models_compared.EXPERIMENT,
    "state_limits": state_limits.EXPERIMENT,
    "length_generalisation": length_generalisation.EXPERIMENT,
    "cache_compression": cache_compression.EXPERIMENT,
    "estimator_audit": estimator_audit.EXPERIMENT,
    "linear_entropy_law": linear_entropy_law.EXPERIMENT,
    "bayes_risks": bayes_risks.EXPERIMENT,
    "retrieval_windows": retrieval_windows.EXPERIMENT,
    "transformer_v4": transformer_v4.EXPERIMENT,
    "two_branch": two_branch.EXPERIMENT,
}
NAMES = (*MAIN, "optimal_context_laws", *EXPERIMENTS)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the reproductions named, by default those of the main job."""
    parser = argparse.ArgumentParser(prog="python -m paper_reproduction", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"which: {', '.join(NAMES)} (default: {', '.join(MAIN)})"
    )
    parser.add_argument("--scale", choices=("smoke", "laptop", "paper"), default="laptop", help="default: laptop")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("results"), help="default: results")
    parser.add_argument("--workers", type=int, help="processes, one core each (all cores; 1 at scale smoke)")
    options = parser.parse_args(arguments)
    names = chosen(options.names)
    try:
        workers = options.workers
        if workers is None:
            workers = 1 if options.scale == "smoke" else best_workers()
        for name in names:
            _make(name, options.scale, options.out, workers)
    except (*REFUSALS, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
    except KeyboardInterrupt:
        print("\nstopped; finished runs are kept, the same command continues", file=sys.stderr)
        return 130
    return 0


def chosen(wanted: Sequence[str]) -> list[str]:
    """The names asked for, those of the main job if none is."""
    unknown = [name for name in wanted if name not in NAMES]
    if unknown:
        raise SystemExit(f"unknown reproduction {', '.join(unknown)}; there are: {', '.join(NAMES)}")
    return list(wanted or MAIN)


def _make(name: str, scale: Scale, out: pathlib.Path, workers: int) -> None:
    if name == "gallery":
        gallery.draw_gallery(scale, out / scale / name)
    elif name == "optimal_context_laws":
        optimal_context_laws.tournament(scale, out / scale / name, workers)
    elif name in EXPERIMENTS:
        make_experiment(name, EXPERIMENTS[name], scale, out, workers)
    else:
        reproduce(name, STUDIES[name], scale, out, workers)


if __name__ == "__main__":
    sys.exit(main())
