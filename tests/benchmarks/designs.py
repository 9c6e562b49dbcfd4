"""Is a probability that :func:`theory.design` states kept? Tables simulated by another route, judged as measured ones.

    python -m tests.benchmarks.designs

For each pair of laws a design is asked for, once with the true constants and scatter, and several times with a pilot
of few seeds. Tables of that design are then made with log-normal noise, as in ``tests.benchmarks.calibration``: its
coefficient of variation doubles from D = 128 to D = 16,384, and it is correlated over l. Each table is fitted and
judged as :func:`theory.compare` does. The shares stand beside those that the advice states.
"""

import argparse
import dataclasses
import itertools
import multiprocessing
import pathlib

import numpy as np
import pandas as pd
import xarray as xr
from tqdm import tqdm

from tests.benchmarks.calibration import LENGTHS, NINE, TRUTH, of_law
from theory.laws import Law
from theory.measured.adequacy import judge
from theory.measured.design import Design, design
from theory.measured.pilot import Pilot
from theory.measured.scatter import SeedNoise
from theory.measured.verdict import outcome_of
from theory.measured.weighted_fit import best_fits, cells_of

PAIRS = (
    ("intrinsic dimension", "power"),
    ("table", "nearest neighbour"),
    ("saturating", "polynomial threshold"),
    ("power", "saturating"),
)
SIZES = tuple(128 * 2**i for i in range(8))
"""Dataset sizes of every pilot."""


@dataclasses.dataclass(frozen=True)
class LogNormal:
    """Noise that multiplies the approximation loss.

    Attributes:
        variation: coefficient of variation at D = 1448.
        correlation: that of two context lengths that differ by a factor of two.
    """

    variation: float
    correlation: float

    def losses(self, law: Law, lengths: tuple[int, ...], sizes: tuple[int, ...], seeds: int, rng) -> np.ndarray:
        """Losses of shape (l, D, seed)."""
        gap = of_law(law)(np.array(lengths)[:, None], np.array(sizes, np.float64)[None, :])
        normal = rng.normal(size=(*gap.shape, seeds))
        for i in range(1, len(lengths)):
            rho = self.correlation ** np.log2(lengths[i] / lengths[i - 1])
            normal[i] = rho * normal[i - 1] + np.sqrt(1 - rho**2) * normal[i]
        variation = self.variation * 2 ** (np.log2(np.array(sizes) / 128) / 7 - 0.5)
        spread = np.sqrt(np.log1p(variation**2))[None, :, None]
        risk = TRUTH.bayes_risk[list(lengths)][:, None, None]
        return risk + gap[:, :, None] * np.exp(spread * normal - spread**2 / 2)

    @property
    def normal(self) -> SeedNoise:
        """Normal noise of the same variance and correlation."""
        by_size = 2 / 7
        constant = 2 * np.log(self.variation) - by_size * np.log(128 * 2**3.5)
        return SeedNoise(constant, by_size=by_size, along_length=self.correlation)


def results(losses: np.ndarray, of: Design) -> xr.Dataset:
    """A table as :func:`simulator.run` gives it."""
    return xr.Dataset(
        {
            "loss": (("context_length", "dataset_size", "seed"), losses),
            "bayes_risk_curve": ("every_context_length", TRUTH.bayes_risk),
            "intrinsic_dimension_curve": ("every_context_length", TRUTH.intrinsic_dimension),
        },
        coords={
            "context_length": list(of.context_lengths),
            "dataset_size": list(of.dataset_sizes),
            "seed": range(of.seeds),
        },
    )


def outcome(pair: tuple[str, str], true: str, noise: LogNormal, of: Design, rng) -> tuple[bool, bool, bool]:
    """Whether a table tells the true law apart, whether the verdict names it, and whether it names the other."""
    losses = noise.losses(NINE[true], of.context_lengths, of.dataset_sizes, of.seeds, rng)
    cells = cells_of(losses, np.array(of.context_lengths), np.array(of.dataset_sizes), TRUTH)
    found = judge(best_fits([NINE[name] for name in pair], cells), cells)
    said, laws = outcome_of(found.p_adequate, found.p_exact, found.p_equal)
    k = pair.index(true)
    told = found.p_adequate[k] > 0.02 and found.p_equal[k] == 1.0 and found.p_equal[1 - k] <= 0.05
    return bool(told), said == "law" and laws == (k,), said == "law" and laws != (k,)


Job = tuple[tuple[str, str], LogNormal, str, int, int]


def check(job: Job) -> list[dict[str, object]]:
    """Ask for a design, from the truth or from a pilot of a law, and simulate its tables by the other route."""
    pair, noise, start, index, n_tables = job
    lengths, rng = tuple(LENGTHS.tolist()), np.random.default_rng([index, round(1000 * noise.variation)])
    if start == "known":
        pilot = Pilot(tuple(NINE[name] for name in pair), (TRUTH, TRUTH), lengths, SIZES, noise.normal)
    else:
        first = Design(lengths, SIZES, 4)
        losses = noise.losses(NINE[start], lengths, SIZES, 4, rng)
        pilot = Pilot.measured(results(losses, first), [type(NINE[name])() for name in pair])
    advice = design(pilot, seed=index, progress=False)
    row = {
        "laws": " | ".join(pair),
        "noise": noise.variation,
        "correlation": noise.correlation,
        "pilot": start,
        "runs": advice.design.runs if advice.design else 0,
        "seeds": advice.design.seeds if advice.design else 0,
    }
    if advice.design is None:
        return [row]
    rows = []
    for true in pair if start == "known" else (start,):
        said = advice.tried.isel(design=-1).sel(truth=true)
        found = np.mean([outcome(pair, true, noise, advice.design, rng) for _ in range(n_tables)], axis=0)
        stated = {name: float(said["share"].sel(outcome=name)) for name in ("told apart", "named", "wrong")}
        rows.append(
            {
                **row,
                "truth": true,
                "stated": stated["told apart"],
                "tables": int(said["tables"]),
                "found": found[0],
                "named, stated": stated["named"],
                "named, found": found[1],
                "wrong, found": found[2],
            }
        )
    return rows


def main() -> None:
    """Print a row for each design and truth."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("designs.csv"))
    parser.add_argument("--tables", type=int, default=200, help="tables of each design and truth (200)")
    parser.add_argument("--pilots", type=int, default=3, help="pilots of each law (3)")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--noise", type=float, nargs="+", default=[0.05, 0.15])
    parser.add_argument("--correlation", type=float, nargs="+", default=[0.0, 0.8])
    options = parser.parse_args()
    jobs: list[Job] = []
    for pair, variation, rho in itertools.product(PAIRS, options.noise, options.correlation):
        noise = LogNormal(variation, rho)
        jobs.append((pair, noise, "known", 0, options.tables))
        jobs += [(pair, noise, true, i, options.tables) for true in pair for i in range(options.pilots)]
    rows: list[dict[str, object]] = []
    with multiprocessing.Pool(options.processes) as pool:
        for found in tqdm(pool.imap(check, jobs), total=len(jobs)):
            rows += found
            pd.DataFrame(rows).to_csv(options.out, index=False, float_format="%.4g")
    print(pd.DataFrame(rows).to_string(index=False, float_format="%.3f"))


if __name__ == "__main__":
    main()
