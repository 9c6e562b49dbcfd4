"""How often intervals cover where a study grows until they are narrow: ``run_until`` on simulated losses.

    python -m tests.benchmarks.adaptive

The losses are those of :mod:`tests.benchmarks.calibration`, with independent noise. Each study begins with context
lengths 4 and 32, eight dataset sizes and two seeds. The interval covers if it holds the length of the smallest exact
loss of those that were measured.
"""

import argparse
import itertools
import multiprocessing
import warnings

import numpy as np
import pandas as pd
import xarray as xr
from tqdm import tqdm

from simulator.grid import Run
from simulator.studies.run_until import more_runs
from tests.benchmarks.calibration import NINE, TRUTH, Stratum, of_law, results_table
from theory import optimal_context_length

SIZES = Stratum(2, 8, 0.1, 0.0).dataset_sizes.astype(int)
START = frozenset(Run(*cell) for cell in itertools.product((4, 32), SIZES.tolist(), range(2)))


def table_of(wanted: frozenset[Run], losses: np.ndarray) -> xr.Dataset:
    """The table of the runs wanted, from the losses of every run there could be."""
    lengths = sorted({run.context_length for run in wanted})
    some = np.full((len(lengths), len(SIZES), 1 + max(run.seed for run in wanted)), np.nan)
    for run in wanted:
        at = run.context_length, int(np.searchsorted(SIZES, run.dataset_size)), run.seed
        some[lengths.index(run.context_length), at[1], at[2]] = losses[at]
    return results_table(some, lengths, SIZES)


def grown(job: tuple[str, float, float, int, int]) -> list[dict[str, object]]:
    """One study: a row for each dataset size."""
    truth, noise, ratio, most_runs, index = job
    rng = np.random.default_rng([index, round(100 * noise)])
    every = np.arange(len(TRUTH.bayes_risk))
    gap = of_law(NINE[truth])(every[:, None], SIZES[None, :].astype(float))
    exact = TRUTH.bayes_risk[:, None] + gap
    spread = np.sqrt(np.log1p(noise**2))
    losses = TRUTH.bayes_risk[:, None, None] + gap[:, :, None] * np.exp(
        spread * rng.normal(size=(*gap.shape, 512)) - spread**2 / 2
    )
    wanted = START
    while True:
        table = table_of(wanted, losses)
        more, left = more_runs(table, wanted, 2, ratio)
        if not more or len(wanted | more) > most_runs:
            break
        wanted |= more
    best, lengths = optimal_context_length(table), table["context_length"].values
    rows = []
    for j, size in enumerate(SIZES):
        here, true = best.isel(dataset_size=j), lengths[np.argmin(exact[lengths, j])]
        rows.append(
            {
                "truth": truth, "noise": noise, "runs": len(wanted), "narrow": int(size) not in left,
                "covered": float(here["lower"]) <= true <= float(here["upper"]),
            }
        )  # fmt: skip
    return rows


def main() -> None:
    """Grow every study and print the shares."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--studies", type=int, default=10, help="studies of each truth and noise (default: 10)")
    parser.add_argument("--noise", type=float, nargs="+", default=[0.05, 0.15, 0.3])
    parser.add_argument("--ratio", type=float, default=1.5)
    parser.add_argument("--most-runs", type=int, default=2000)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    jobs = [
        (truth, noise, options.ratio, options.most_runs, index)
        for noise, truth, index in itertools.product(options.noise, NINE, range(options.studies))
    ]
    warnings.simplefilter("ignore")
    with multiprocessing.Pool(options.processes) as pool:
        results = pd.DataFrame(list(itertools.chain.from_iterable(tqdm(pool.imap(grown, jobs), total=len(jobs)))))
    print(results.groupby("noise")[["covered", "narrow", "runs"]].mean().round(3).to_string(), end="\n\n")
    print(results.groupby("truth")[["covered", "narrow", "runs"]].mean().round(3).to_string())


if __name__ == "__main__":
    main()
