"""Which learner pays for all tokens that it sees, and which for the relevant ones alone?

The relevant tokens stay the same. Others come between them, until the relevant ones are a fraction rho of what is seen.
R(l) does not change. The approximation loss G rises. It is shown as a share of Gmax, the G of no context at all. Where
G grows linearly in l and R falls as (rho l)^-gamma, the best length is l* ~ rho^(-gamma/(1+gamma)).
"""

import pathlib

import numpy as np
import xarray as xr

from paper_reproduction.report_tables import labelled, mean_and_interval
from paper_reproduction.reproduction import Reproduction, Result, Scale
from simulator import Study, run
from simulator.learners import (
    CorrelationScreening,
    GradientDescent,
    Learner,
    LeastSquares,
    NearestNeighbour,
    ParityPosterior,
    PolynomialRidge,
    Ridge,
)
from simulator.models import MLP, Transformer
from simulator.tasks import GaussianLookBack, IrrelevantTokens, LagCopy, ManifoldTeacher, SparseParity, Task

RELEVANT = 8
"""Number of visible relevant tokens."""


def players(scale: Scale) -> dict[str, tuple[Learner, Task, int]]:
    """Each learner with a task of eight relevant tokens and a dataset size at which some of Gmax is left."""
    series = GaussianLookBack.independent(C0=0.5, C=1.0, gamma=1.0, b=1.0, max_context_length=RELEVANT)
    parities = SparseParity(
        pairs=tuple((far, 1 + far // 3) for far in (2, 3, 4, 5, 6, 7, 8, 9)), max_context_length=RELEVANT
    )
    manifold = ManifoldTeacher(RELEVANT, n_frequencies=1, dimension_profile=(1, 1, 1, 1, 2, 2, 2, 2))
    copies = LagCopy(vocabulary_size=3, beta=1.0, first_probability=0.35, max_context_length=RELEVANT)
    exact: dict[str, tuple[Learner, Task, int]] = {
        "least squares": (LeastSquares(), series, 512),
        "ridge": (Ridge(0.1), series, 512),
        "correlation screening": (CorrelationScreening(), series, 512),
        "nearest neighbour": (NearestNeighbour(labels="bayes"), manifold, 2048),
        "ridge on pairs of bits": (PolynomialRidge(degree=2, penalty=0.1), parities, 8 * 512),
        "posterior over parities": (ParityPosterior(noise_prior=0.9), parities, 8 * 9),
    }
    if scale == "smoke":
        return {name: exact[name] for name in ("least squares", "correlation screening")}

    def trained(model: MLP | Transformer, rate: float) -> GradientDescent:
        return GradientDescent(model, steps=4000, learning_rate=rate, weight_decay=0.3, validation_size=1024)

    return exact | {
        "MLP on parities": (trained(MLP((64, 64)), 5e-3), parities, 2048),
        "Transformer on copies": (trained(Transformer(depth=2, width=32, heads=2), 3e-3), copies, 2048),
    }


def padded(task: Task, factor: int) -> Task:
    """The task with irrelevant tokens among its own: ``factor`` times as many in all. The places are to be learned.

    The bits of parities move apart instead, so that learners of parities still know the task.
    """
    if factor == 1:
        return task
    if isinstance(task, SparseParity):
        pairs = tuple((far * factor, near * factor) for far, near in task.pairs)
        return SparseParity(pairs=pairs, max_context_length=task.max_context_length * factor)
    return IrrelevantTokens(task, relevant_fraction=1 / factor)


def share_of_gmax(scale: Scale, folder: pathlib.Path, workers: int) -> xr.Dataset:
    """G/Gmax of each learner with everything in sight, against how many tokens that is."""
    factors, rows = (1, 2) if scale == "smoke" else (1, 2, 4, 8), []
    for name, (learner, task, size) in players(scale).items():
        exact, smoke = not isinstance(learner, GradientDescent), scale == "smoke"
        seeds, test = (2, 512) if smoke else (16 if exact else 3, 4096)
        row = []
        for factor in factors:
            wide = padded(task, factor)
            study = Study(wide, learner, (wide.max_context_length,), (size,), seeds=seeds, test_size=test)
            results = run(study, folder / "runs" / name.replace(" ", "_"), workers=workers)
            gap = results["approximation_loss"].isel(context_length=0, dataset_size=0, drop=True)
            row.append(gap / (wide.bayes_risk(0) - wide.bayes_risk(wide.max_context_length)))
        rows.append(mean_and_interval(xr.concat(row, "tokens").assign_coords(tokens=[RELEVANT * f for f in factors])))
    table = xr.concat(rows, "learner").assign_coords(learner=list(players(scale)))
    labels = {
        "value": "approximation loss / $G_{max}$ (no unit)",
        "tokens": "tokens in sight, 8 of them relevant",
        "learner": "learner",
    }
    return labelled(table, labels, scale="log")


def optimum_against_fraction(scale: Scale, folder: pathlib.Path, workers: int) -> xr.Dataset:
    """l* of least squares at each relevant fraction: measured, exact, and the power law from the exact one at rho = 1.

    Mean of ln l* over placements of the relevant tokens, and one standard error of it either way. Lengths measured are
    2^(i/8) within a factor of 2.5 of the exact optimum: runs at ten times the optimum take most of the time.
    """
    gamma, smoke = 1.0, scale == "smoke"
    fractions, placements = ((1.0, 0.5), 2) if smoke else ((1.0, 0.5, 0.25, 0.125), 8)
    task = GaussianLookBack.independent(C0=1.0, C=1.0, gamma=gamma, b=0.5, max_context_length=32 if smoke else 160)
    size, learner = 512 if smoke else 8192, LeastSquares()
    measured, exact = [], []
    for rho in fractions:
        log_best = []
        for placement in range(placements):
            spread = task if rho == 1 else IrrelevantTokens(task, relevant_fraction=rho, seed=placement)
            longest = spread.max_context_length
            best = 1 + int(np.argmin([learner.expected_risk(spread, x, size) for x in range(1, longest + 1)]))
            grid = sorted({round(2 ** (i / 8)) for i in range(8, 88, 8 if smoke else 1)})
            lengths = [x for x in grid if best / 2.5 <= x <= min(best * 2.5, longest)]
            study = Study(spread, learner, lengths, (size,), seeds=2 if smoke else 16, test_size=512 if smoke else 4096)
            results = run(study, folder / "runs" / "fractions", workers=workers)
            mean = results["loss"].mean("seed").isel(dataset_size=0)
            log_best.append(np.log2([lengths[int(np.argmin(mean.values))], best]))
        middle = np.mean(log_best, axis=0)
        error = np.std(log_best, axis=0, ddof=1) / np.sqrt(placements)
        ends = [2.0 ** (middle + side * error) for side in (0, -1, 1)]
        for of, column in ((measured, 0), (exact, 1)):
            of.append([end[column] for end in ends])
    law = [[exact[0][0] * rho ** (-gamma / (1 + gamma))] * 3 for rho in fractions]
    values = np.array([measured, exact, law])
    table = xr.Dataset(
        {name: (("series", "one_in"), values[:, :, i]) for i, name in enumerate(("value", "lower", "upper"))},
        {"series": ["measured", "exact", "$\\rho^{-\\gamma/(1+\\gamma)}$"], "one_in": [1 / rho for rho in fractions]},
    )
    labels = {"value": "$l^*$ of least squares (tokens)", "one_in": "$1/\\rho$: one token in so many is relevant"}
    return labelled(table, labels | {"series": "optimum"}, scale="log2")


def make(scale: Scale, folder: pathlib.Path, workers: int) -> Result:
    """Both figures."""
    return Result(
        {
            "share_of_gmax": share_of_gmax(scale, folder, workers),
            "optimum_against_fraction": optimum_against_fraction(scale, folder, workers),
        }
    )


REPRODUCTION = Reproduction(
    "What irrelevant tokens cost",
    claim="Which learner pays for every token that it sees, and which for the relevant ones alone?",
    source="a question of this project",
    make=make,
)
