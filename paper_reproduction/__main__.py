"""``python -m paper_reproduction [NAME ...] [--scale smoke|laptop|paper] [--out DIR] [--workers N]``."""

import argparse
import pathlib
import sys
from collections.abc import Sequence

from paper_reproduction.bayes_risks import make as bayes_risks
from paper_reproduction.cache_compression import make as cache_compression
from paper_reproduction.data_exponents import make as data_exponents
from paper_reproduction.enough_data import make as enough_data
from paper_reproduction.estimator_audit import make as estimator_audit
from paper_reproduction.gallery import make as gallery
from paper_reproduction.irrelevant_context import make as irrelevant_context
from paper_reproduction.kept_parts import make_experiment
from paper_reproduction.length_generalisation import make as length_generalisation
from paper_reproduction.linear_entropy_law import make as linear_entropy_law
from paper_reproduction.look_back import make as look_back
from paper_reproduction.models_compared import make as models_compared
from paper_reproduction.optimal_context_laws import make as optimal_context_laws
from paper_reproduction.optimisation_dimension import make as optimisation_dimension
from paper_reproduction.parity_mlp import make as parity_mlp
from paper_reproduction.reproduction import REFUSALS, Scale, reproduce
from paper_reproduction.retrieval_windows import make as retrieval_windows
from paper_reproduction.state_limits import make as state_limits
from paper_reproduction.statistical_gap import make as statistical_gap
from paper_reproduction.transformer_v4 import make as transformer_v4
from paper_reproduction.two_branch import make as two_branch
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
