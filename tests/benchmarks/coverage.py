"""How often an interval covers the truth: l*(D), its continuous form and its growth, and the constants of a law.

    python -m tests.benchmarks.coverage --out coverage.csv

The tables are those of :mod:`tests.benchmarks.calibration`. Each law, or curve of no law, is the truth in turn.

    grid l*            the interval of optimal_context_length holds the exact argmin over the measured lengths
    continuous l*      that of surface_optimum holds the exact minimum between the measured lengths
    growth             that of its growth exponent holds the slope of the exact minima
    constants          those of fit hold the constants of the true law
    constants, R free  the same where R(l) is estimated from the table (read_loss_table) with its loss at l = 0
    no R(0)            the same without a loss at l = 0

An l* at an end of the measured lengths is left out of the first three. Every interval has level 0.9. Those of the grid
cover more where one context length is clearly the best. Constants count where the table does not reject the law.
"""

import argparse
import itertools
import multiprocessing
import pathlib
import tempfile
import warnings

import numpy as np
import pandas as pd
import xarray as xr
from scipy.interpolate import PchipInterpolator
from tqdm import tqdm

from tests.benchmarks.calibration import LENGTHS, NINE, OUTSIDE, TRUTH, Stratum, of_law, results_table
from theory import LossTableError, fit, optimal_context_length, read_loss_table, surface_optimum
from theory.measured.verdict import REJECTED

TRUTHS = ("ridge", "kinked power", "noisy neighbours", "half power, half table", *NINE)
ENDS = np.log(LENGTHS[[0, -1]])


def with_estimated_risk(table: xr.Dataset, *, without_context: bool) -> xr.Dataset:
    """The table as it comes from a CSV file without R(l), with or without the loss at context length 0."""
    rows = table["loss"].to_dataframe().reset_index()
    if without_context:
        at_zero = rows[rows["context_length"] == LENGTHS[0]].assign(context_length=0, loss=TRUTH.bayes_risk[0])
        rows = pd.concat([at_zero, rows])
    rows["intrinsic_dimension"] = TRUTH.intrinsic_dimension[rows["context_length"]]
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        path = pathlib.Path(folder) / "losses.csv"
        rows.to_csv(path, index=False)
        return read_loss_table(path)


def exact_minima(truth: str, stratum: Stratum) -> np.ndarray:
    """ln l of the minimum of R(l) + G(l, D) between the shortest and the longest length; NaN at an end."""
    of = of_law(NINE[truth]) if truth in NINE else OUTSIDE[truth]
    every = np.arange(LENGTHS[0], LENGTHS[-1] + 1)
    fine = np.linspace(ENDS[0], ENDS[1], 4001)
    risk = PchipInterpolator(np.log(np.arange(1, 65)), TRUTH.bayes_risk[1:])(fine)
    found = []
    for size in stratum.dataset_sizes:
        gap = np.maximum(of(every, np.full(len(every), size)), 1e-12)
        lowest = int(np.argmin(risk + np.exp(PchipInterpolator(np.log(every), np.log(gap))(fine))))
        found.append(fine[lowest] if 0 < lowest < len(fine) - 1 else np.nan)
    return np.array(found)


def covered(job: tuple[str, Stratum, int]) -> list[dict[str, object]]:
    """One simulated table: a row for each interval, with whether it covers and its width."""
    truth, stratum, index = job
    gap = stratum.gap(of_law(NINE[truth]) if truth in NINE else OUTSIDE[truth])
    rng = np.random.default_rng([index, stratum.seeds, stratum.sizes, round(100 * stratum.noise)])
    cells = stratum.table(gap, rng)
    losses = np.empty((*gap.shape, stratum.seeds))
    losses[cells.grid.ranks] = cells.losses
    table, rows = results_table(losses, LENGTHS, stratum.dataset_sizes), []

    def note(what: str, lower: object, upper: object, exact: object) -> None:
        for low, high, true in zip(*(np.atleast_1d(np.asarray(x)) for x in (lower, upper, exact)), strict=True):
            if np.isfinite([low, high, true]).all():
                inside = low - 1e-9 <= true <= high + 1e-9
                rows.append({"what": what, "covered": bool(inside), "width": high - low})

    best = np.argmin(TRUTH.bayes_risk[LENGTHS][:, None] + gap, axis=0)
    measured = optimal_context_length(table)
    inner = np.where((best > 0) & (best < len(LENGTHS) - 1), LENGTHS[best], np.nan)
    note("grid l*", np.log2(measured["lower"]), np.log2(measured["upper"]), np.log2(inner))
    minima, surface = exact_minima(truth, stratum), surface_optimum(table)
    lower, upper = np.log(surface["lower"].values), np.log(surface["upper"].values)
    note("continuous l*", lower, upper, minima)
    inside = (lower > ENDS[0] + 1e-9) & (upper < ENDS[1] - 1e-9)
    if inside.sum() >= 2 and np.isfinite(minima[inside]).all():
        slope = np.polyfit(np.log(stratum.dataset_sizes[inside]), minima[inside], 1)[0]
        note("growth", surface["growth_lower"], surface["growth_upper"], slope)
    if truth in NINE and NINE[truth].fitted:
        law = NINE[truth]
        for what, seen in (
            ("constants", table),
            ("constants, R free", with_estimated_risk(table, without_context=True)),
            ("no R(0)", with_estimated_risk(table, without_context=False)),
        ):
            try:
                found = fit(law, seen)
            except LossTableError:
                continue
            for name in law.fitted if found.p_adequate > REJECTED else ():
                note(what, *found.intervals[name], getattr(law, name))
    return [
        {"seeds": stratum.seeds, "sizes": stratum.sizes, "noise": stratum.noise, "correlation": stratum.correlation,
         "truth": truth, **row}
        for row in rows
    ]  # fmt: skip


def print_summary(results: pd.DataFrame) -> None:
    """The share of intervals that cover, by stratum and by truth."""
    for by in (["seeds", "sizes", "noise", "correlation"], ["truth"]):
        shares = results.pivot_table("covered", by, "what", "mean")
        print(shares.reset_index().to_string(index=False, float_format="%.2f", na_rep="-"), end="\n\n")
    widths = results.pivot_table("width", "seeds", "what", "median")[["grid l*", "continuous l*", "growth"]]
    print("median width: octaves of l*, ln l* between lengths, exponent of growth")
    print(widths.reset_index().to_string(index=False, float_format="%.3f"))


def main() -> None:
    """Simulate every stratum and write a row for each interval."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument(
        "--out", type=pathlib.Path, default=pathlib.Path("coverage.csv"), help="a row for each interval"
    )
    parser.add_argument("--tables", type=int, default=10, help="tables of each truth in a stratum (default: 10)")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--truths", nargs="+", choices=TRUTHS, default=TRUTHS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[2, 4, 8, 16])
    parser.add_argument("--sizes", type=int, nargs="+", default=[4, 8])
    parser.add_argument("--noise", type=float, nargs="+", default=[0.05, 0.15, 0.3])
    parser.add_argument("--correlation", type=float, nargs="+", default=[0.0, 0.9])
    options = parser.parse_args()
    designs = list(itertools.product(options.noise, options.correlation, options.seeds, options.sizes))
    results: list[dict[str, object]] = []
    with multiprocessing.Pool(options.processes) as pool:
        for noise, correlation, seeds, sizes in tqdm(designs):
            stratum = Stratum(seeds, sizes, noise, correlation)
            jobs = [(truth, stratum, index) for truth in options.truths for index in range(options.tables)]
            results += itertools.chain.from_iterable(pool.imap(covered, jobs, chunksize=5))
            pd.DataFrame(results).to_csv(options.out, index=False, float_format="%.4g")
    print_summary(pd.DataFrame(results))


if __name__ == "__main__":
    main()
