"""How often an interval of :func:`theory.fit_chinchilla` holds its constant, on simulated tables.

    python -m tests.benchmarks.chinchilla

The truth has the constants of Besiroglu et al. (arXiv 2404.10102). Sizes spread over two and a half decades each, drawn
at random or crossed. The noise of ln L is normal.
"""

import argparse
import contextlib

import numpy as np
import pandas as pd
from tqdm import tqdm

from theory import LossTableError, fit_chinchilla
from theory.laws import ChinchillaLaw

CONSTANTS = ("irreducible_loss", "model_amplitude", "data_amplitude", "model_rate", "data_rate")
CROSSED = {9: (3, 3), 12: (4, 3), 24: (6, 4), 240: (20, 12)}
"""Numbers of model sizes and of dataset sizes, by the number of runs."""
DESIGNS = ((6, "random"), *((n, kind) for n in CROSSED for kind in ("random", "crossed")))


def spread(kind: str, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """N and D of every run."""
    if kind == "random":
        return 10 ** rng.uniform(7.6, 10.1, n), 10 ** rng.uniform(9, 11.5, n)
    models, datasets = CROSSED[n]
    N, D = np.meshgrid(np.geomspace(4e7, 1.2e10, models), np.geomspace(1e9, 3e11, datasets))
    return N.ravel(), D.ravel()


def held(law: ChinchillaLaw, kind: str, n: int, noise: float, tables: int) -> np.ndarray:
    """Whether the interval of each constant holds it, shape (table, constant); without tables that are refused."""
    rng, found = np.random.default_rng(n), []
    for _ in range(tables):
        N, D = spread(kind, n, rng)
        with contextlib.suppress(LossTableError):
            intervals = fit_chinchilla(N, D, law.loss(N, D) * np.exp(noise * rng.normal(size=n))).intervals
            found.append([intervals[name][0] <= getattr(law, name) <= intervals[name][1] for name in CONSTANTS])
    return np.array(found)


def main() -> None:
    """Print a row for each design."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--tables", type=int, default=200, help="tables of a design (default: 200)")
    parser.add_argument("--noise", type=float, nargs="+", default=[0.005, 0.01])
    options = parser.parse_args()
    rows = []
    for noise, (n, kind) in tqdm([(noise, design) for noise in options.noise for design in DESIGNS]):
        found = held(ChinchillaLaw.besiroglu(), kind, n, noise, options.tables)
        shares = dict(zip(("E", "A", "B", "alpha", "beta"), found.mean(axis=0), strict=True))
        rows.append({"noise": noise, "runs": n, "sizes": kind, "refused": options.tables - len(found), **shares})
    print(pd.DataFrame(rows).to_string(index=False, float_format="%.3f"))


if __name__ == "__main__":
    main()
