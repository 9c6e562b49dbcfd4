"""How often a verdict is wrong: simulated tables whose truth is known.

    python -m tests.benchmarks.calibration --out calibration.csv

Every table has eleven context lengths, R(l) = 0.3 + 0.5/(1+l)^0.7 and dim(l) = 1 + l/4. Its noise multiplies the
approximation loss. The noise is log-normal with mean one. Its coefficient of variation grows over the dataset sizes by
a factor of two. It is independent, or correlated over l by 0.9 between neighbours. Nine laws are offered.

    offered     the true law is one of the nine
    floor       the same, with 0.002 U added to every approximation loss
    absent      the true law is taken from the nine, or was never among them
    equal       two laws, and a mixture of both to which each comes equally close

A verdict is wrong if it names another law than the true one, or none where the true one is offered.
"""

import argparse
import dataclasses
import functools
import itertools
import multiprocessing
import pathlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pandas as pd
import xarray as xr
from scipy.optimize import brentq
from tqdm import tqdm

from theory.laws import (
    CorrelationHorizonLaw,
    FineTuningDimensionLaw,
    IntrinsicDimensionLaw,
    Law,
    LogThresholdLaw,
    NearestNeighbourLaw,
    PolynomialThresholdLaw,
    PowerLaw,
    QuantaLaw,
    SaturatingLaw,
    TableLaw,
    Truth,
    VarianceLimitedLaw,
)
from theory.learning_curves import least_squares_risk, nearest_neighbour_distance
from theory.measured.adequacy import judge
from theory.measured.verdict import outcome_of
from theory.measured.weighted_fit import LossCells, best_fits, cells_of, weighted_fits

LENGTHS = np.array((2, 3, 4, 6, 8, 11, 16, 23, 32, 45, 64))
EVERY = np.arange(65)
TRUTH = Truth(0.3 + 0.5 / (1 + EVERY) ** 0.7, np.where(EVERY > 0, 1 + EVERY / 4, 0.0))
U = float(TRUTH.bayes_risk[0] - TRUTH.bayes_risk[-1])
NINE: dict[str, Law] = {
    law.name: law
    for law in (
        IntrinsicDimensionLaw(0.2, 0.6, 2.0),
        NearestNeighbourLaw(0.25),
        VarianceLimitedLaw(),
        CorrelationHorizonLaw(20.0, 0.9),
        PolynomialThresholdLaw(6.0),
        LogThresholdLaw(150.0),
        TableLaw(1.12, classes=2),
        PowerLaw(0.02, 0.9, 0.5),
        SaturatingLaw(60.0, 0.9, 0.9),
    )
}
PAIRS = (
    ("power", "saturating"),
    ("intrinsic dimension", "power"),
    ("correlation horizon", "saturating"),
    ("table", "nearest neighbour"),
    ("saturating", "polynomial threshold"),
)
GapOf = Callable[[np.ndarray, np.ndarray], np.ndarray]


def of_law(law: Law) -> GapOf:
    """The approximation loss of a law, at most 1.3 times that of no learning at all."""

    def gap(length: np.ndarray, size: np.ndarray) -> np.ndarray:
        return np.minimum(law.approximation_loss(length, size, TRUTH), 1.3 * TRUTH.largest_gap(length))

    return gap


def ridge(length: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Ridge with the right prior (the docstring of SaturatingLaw): saturating, but k depends on l."""
    largest, R = TRUTH.largest_gap(length), TRUTH.bayes_risk[length]
    return largest / (1 + size * largest / (length * R))


def kinked(length: np.ndarray, size: np.ndarray) -> np.ndarray:
    """A power law whose exponent of D halves at D = 1024."""
    power = of_law(NINE["power"])(length, size)
    return power * np.maximum(size / 1024, 1.0) ** 0.25


def two_channels(length: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Least squares with two parameters for each token."""
    return gap_of_curve(least_squares_risk(TRUTH.bayes_risk[length], 2 * length, size), length)


def noisy_neighbours(length: np.ndarray, size: np.ndarray) -> np.ndarray:
    """The nearest of D samples, whose answer repeats a tenth of the noise R(l)."""
    distance = nearest_neighbour_distance(np.maximum(TRUTH.intrinsic_dimension[length], 1e-3), size)
    return gap_of_curve(1.1 * TRUTH.bayes_risk[length] + 0.25 * distance, length)


def gap_of_curve(loss: np.ndarray, length: np.ndarray) -> np.ndarray:
    """The approximation loss of a learning curve, at most 1.3 times that of no learning at all."""
    return np.minimum(loss - TRUTH.bayes_risk[length], 1.3 * TRUTH.largest_gap(length))


def mixture(one: str, other: str, weight: float) -> GapOf:
    """The weighted mean of two laws."""
    a, b = of_law(NINE[one]), of_law(NINE[other])
    return lambda length, size: weight * a(length, size) + (1 - weight) * b(length, size)


OUTSIDE: dict[str, GapOf] = {
    "quanta": of_law(QuantaLaw(0.6, 3.0, 0.8)),
    "fine-tuning dimension": of_law(FineTuningDimensionLaw(0.3)),
    "ridge": ridge,
    "kinked power": kinked,
    "least squares, two channels": two_channels,
    "noisy neighbours": noisy_neighbours,
    "half power, half table": mixture("power", "table", 0.5),
    "half saturating, half horizon": mixture("saturating", "correlation horizon", 0.5),
}


TRUTHS: dict[str, list[str]] = {
    "offered": [*NINE],
    "absent": [*NINE, *OUTSIDE],
    "equal": [" | ".join(pair) for pair in PAIRS],
    "floor": [*NINE],
}


@dataclasses.dataclass(frozen=True)
class Stratum:
    """A design of tables: seeds, dataset sizes, noise and its correlation over l."""

    seeds: int
    sizes: int
    noise: float
    correlation: float

    @property
    def dataset_sizes(self) -> np.ndarray:
        """From 128 to 16,384, evenly in the logarithm."""
        return np.round(128 * 2 ** (7 * np.arange(self.sizes) / (self.sizes - 1)))

    def gap(self, of: GapOf) -> np.ndarray:
        """The exact approximation losses, shape (l, D)."""
        return of(LENGTHS[:, None], self.dataset_sizes[None, :])

    def table(self, gap: np.ndarray, rng: np.random.Generator) -> LossCells:
        """A noisy table."""
        rho = self.correlation
        normal = rng.normal(size=(*gap.shape, self.seeds))
        for i in range(1, len(LENGTHS)):
            normal[i] = rho * normal[i - 1] + np.sqrt(1 - rho**2) * normal[i]
        variation = self.noise * 2 ** np.linspace(-0.5, 0.5, self.sizes)[None, :, None]
        spread = np.sqrt(np.log1p(variation**2))
        return self.exact(gap[:, :, None] * np.exp(spread * normal - spread**2 / 2))

    def exact(self, gaps: np.ndarray) -> LossCells:
        """A table with these approximation losses."""
        losses = TRUTH.bayes_risk[LENGTHS][:, None, None] + gaps
        return cells_of(losses, LENGTHS, self.dataset_sizes, TRUTH)


def results_table(losses: np.ndarray, lengths: Sequence[int] | np.ndarray, sizes: np.ndarray) -> xr.Dataset:
    """A results table with losses over (l, D, seed)."""
    axes = ("context_length", "dataset_size", "seed")
    return xr.Dataset(
        {
            "loss": (axes, losses),
            "approximation_loss": (axes, losses - TRUTH.bayes_risk[np.asarray(lengths)][:, None, None]),
            "bayes_risk_curve": ("every_context_length", TRUTH.bayes_risk),
            "intrinsic_dimension_curve": ("every_context_length", TRUTH.intrinsic_dimension),
        },
        dict(zip(axes, (lengths, sizes.astype(int), range(losses.shape[2])), strict=True)),
    )


@functools.cache
def balance(pair: tuple[str, str], stratum: Stratum) -> float:
    """The weight at which the noise-free mixture misfits both laws equally."""
    laws = [NINE[name] for name in pair]

    def difference(weight: float) -> float:
        cells = stratum.exact(stratum.gap(mixture(*pair, weight))[:, :, None])
        one, other = weighted_fits(best_fits(laws, cells), cells).misfit
        return float(np.log(one + 1e-12) - np.log(other + 1e-12))

    return float(brentq(difference, 0.001, 0.999, xtol=1e-3))


@functools.cache
def starts(situation: str, truth: str, stratum: Stratum) -> tuple[np.ndarray, tuple[Law, ...]]:
    """The exact gaps, and the laws on offer fitted to them."""
    if situation == "equal":
        one, other = truth.split(" | ")
        offered = [NINE[one], NINE[other]]
        gap = stratum.gap(mixture(one, other, balance((one, other), stratum)))
    else:
        gap = stratum.gap(of_law(NINE[truth]) if truth in NINE else OUTSIDE[truth])
        gap = gap + 0.002 * U * (situation == "floor")
        offered = [law for name, law in NINE.items() if situation != "absent" or name != truth]
    return gap, tuple(best_fits(offered, stratum.exact(gap[:, :, None])))


def judged(job: tuple[str, str, Stratum, int]) -> dict[str, object]:
    """One simulated table: its design, its verdict (a law's name, "undecided" or "none") and the p-values behind it."""
    situation, truth, stratum, index = job
    gap, laws = starts(situation, truth, stratum)
    rng = np.random.default_rng([index, stratum.seeds, stratum.sizes, round(100 * stratum.noise)])
    found = judge(laws, stratum.table(gap, rng), replicates=99)
    outcome, chosen = outcome_of(found.p_adequate, found.p_exact, found.p_equal)
    best = int(np.argmax(found.p_equal))
    return {
        **dataclasses.asdict(stratum),
        "situation": situation,
        "truth": truth,
        "said": laws[chosen[0]].name if outcome == "law" else outcome,
        "nearest": laws[best].name,
        "p exact": found.p_exact[best],
        "largest p": found.p_adequate.max(),
        "p equal": np.delete(found.p_equal, best).max(),
    }


def jobs(stratum: Stratum, tables: int, situations: list[str]) -> Iterator[tuple[str, str, Stratum, int]]:
    """About so many tables in every situation."""
    for situation in situations:
        names = TRUTHS[situation]
        for name, index in itertools.product(names, range(-(-tables // len(names)))):
            yield situation, name, stratum, index


def summary(results: pd.DataFrame) -> pd.DataFrame:
    """The shares of verdicts in every stratum: wrong in every situation, right or none."""
    known = results["situation"].isin(["offered", "floor"])
    right = known & (results["said"] == results["truth"])
    none = results["said"] == "none"
    named = ~none & (results["said"] != "undecided")
    shares = results.assign(
        right=right, none=none, wrong=(named & ~right) | (known & none), tables=1
    ).groupby([*(field.name for field in dataclasses.fields(Stratum)), "situation"])  # fmt: skip
    return shares.agg({"tables": "sum", "right": "mean", "none": "mean", "wrong": "mean"})


def print_summary(results: pd.DataFrame) -> None:
    """Print a row for each stratum, and the largest share of wrong verdicts of each situation."""
    shares = summary(results)
    wrong, right, none = (shares[what].unstack("situation") for what in ("wrong", "right", "none"))
    table = wrong.add_prefix("wrong, ")
    for situation in ("offered", "floor"):
        if situation in right:
            table[f"right, {situation}"] = right[situation]
    if "absent" in none:
        table["none, absent"] = none["absent"]
    print(table.reset_index().to_string(index=False, float_format="%.3f"))
    fewest, worst = shares["tables"].min(), wrong.max()
    print(f"\nlargest share of wrong verdicts in {len(table)} strata of at least {fewest} tables a situation:")
    print(worst.to_string(float_format="%.3f"))


def main() -> None:
    """Simulate every stratum and write one row for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--out", type=pathlib.Path, default=pathlib.Path("calibration.csv"), help="a row for each table"
    )
    parser.add_argument("--tables", type=int, default=200, help="tables of a stratum in each situation (default: 200)")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--situations", nargs="+", choices=TRUTHS, default=[*TRUTHS])
    parser.add_argument("--seeds", type=int, nargs="+", default=[2, 4, 8, 16])
    parser.add_argument("--sizes", type=int, nargs="+", default=[4, 6, 8, 10])
    parser.add_argument("--noise", type=float, nargs="+", default=[0.05, 0.15, 0.3])
    parser.add_argument("--correlation", type=float, nargs="+", default=[0.0, 0.9])
    parser.add_argument("--summary", type=pathlib.Path, help="print the shares of a file that --out wrote; run nothing")
    options = parser.parse_args()
    if options.summary:
        print_summary(pd.read_csv(options.summary))
        return
    designs = itertools.product(options.noise, options.correlation, options.seeds, options.sizes)
    results = []
    with multiprocessing.Pool(options.processes) as pool:
        for noise, correlation, seeds, sizes in tqdm(list(designs)):
            stratum = Stratum(seeds, sizes, noise, correlation)
            results += pool.map(judged, list(jobs(stratum, options.tables, options.situations)), chunksize=23)
            pd.DataFrame(results).to_csv(options.out, index=False, float_format="%.4g")
    print_summary(pd.DataFrame(results))


if __name__ == "__main__":
    main()
