"""How often a cell is marked as limited by optimisation, and how often ten times the training agrees.

    python -m tests.benchmarks.optimisation [STUDY ...] --store optimisation_runs

Every study is run twice: as it is, and with ten times the steps and without early stopping. A cell *improves* if the
mean loss over its seeds falls by more than a share of U = R(0) - R(L). A cell is *marked* if any of its runs is. A
*false alarm* is a marked cell that does not improve; a *miss* improves and is not marked. The thresholds of
simulator.limited_by_optimisation were chosen on the studies that are starred.

A simulation follows: tables of 16 cells whose curves end flat and whose approximation losses scatter log-normally. The
deviation is the same everywhere, or doubles over the dataset sizes. Nothing is limited there.
"""

import argparse
import dataclasses
import pathlib

import numpy as np
import pandas as pd
import xarray as xr

from paper_reproduction.parity_mlp.make import study as parity_study
from simulator import Study, limited_by_optimisation, run
from simulator.learners import GradientDescent
from simulator.models import MLP
from simulator.tasks import GaussianLookBack, LagCopy, MarkovChain, SparseParity, ZipfQuanta

_PARITIES = SparseParity.pareto(n_tasks=8, max_context_length=16, nearest=2, exponent=0.7)
_OTHERS = SparseParity.pareto(n_tasks=12, max_context_length=32, nearest=2, exponent=0.7)
_COPIES = LagCopy(vocabulary_size=8, beta=1.0, first_probability=0.24, max_context_length=16)
_SERIES = GaussianLookBack.designed(C0=1.0, C=3.0, gamma=1.0, b=1.0, max_context_length=16)
_MEMORY = GaussianLookBack.arfima(d=0.4, max_context_length=32)
_QUANTA = ZipfQuanta(n_tasks=30, max_context_length=32, alpha=1.0, distance_exponent=1.0)
_SMALL, _WIDE = MLP(hidden_sizes=(32, 32)), MLP(hidden_sizes=(64, 64))
STUDIES = {
    "parity_mlp *": dataclasses.replace(
        parity_study("laptop"),
        learner=GradientDescent(_WIDE, steps=6000, weight_decay=0.3, precision="mixed"),
        dataset_sizes=(724, 1024, 1448, 2048, 2896, 4096, 5793, 8192, 11585, 16384),
    ),
    "parities *": Study(
        _PARITIES, GradientDescent(_SMALL, steps=3000, weight_decay=0.3), (2, 4, 8, 16), (256, 1024, 4096)
    ),
    "parities, few steps *": Study(
        _PARITIES, GradientDescent(_SMALL, steps=700, weight_decay=0.3), (2, 4, 8, 16), (256, 1024, 4096)
    ),
    "series *": Study(
        _SERIES, GradientDescent(_SMALL, steps=600, learning_rate=2e-3), (1, 4, 16), (128, 512, 2048, 8192)
    ),
    "copies *": Study(
        _COPIES, GradientDescent(_SMALL, steps=1000, learning_rate=2e-3), (2, 4, 8, 16), (512, 2048, 8192)
    ),
    "chain *": Study(
        MarkovChain.random(3, 2, 0.5, 8),
        GradientDescent(_SMALL, steps=400, learning_rate=5e-4, evaluation_every=25),
        (1, 2, 4, 8),
        (256, 1024, 8192),
    ),
    "other parities": Study(
        _OTHERS,
        GradientDescent(
            _WIDE, steps=3000, learning_rate=1e-3, weight_decay=0.3, validation_size=1024, precision="mixed"
        ),
        (3, 6, 16, 32),
        (724, 1448, 4096),
    ),
    "long memory": Study(
        _MEMORY, GradientDescent(_SMALL, steps=1500, learning_rate=1e-3, patience=8), (2, 8, 32), (256, 1024, 4096)
    ),
    "quanta": Study(_QUANTA, GradientDescent(_WIDE, steps=2000, weight_decay=0.1), (4, 8, 16, 32), (512, 2048, 8192)),
}
"""By name. ``parity_mlp`` has the settings of before its runs had a growing patience."""
_PARTS = {
    "parity_mlp *": {"context_lengths": (4, 11, 23, 45, 64), "dataset_sizes": (2048, 5793, 11585, 16384), "seeds": 3}
}
"""The part of a large study that is trained for longer."""


def trained(name: str, store: pathlib.Path) -> dict[str, object]:
    """A study's row: how many cells are marked, and how many improve."""
    study = STUDIES[name]
    longer = dataclasses.replace(study.learner, steps=10 * study.learner.steps, patience=None)
    folder = store / name.translate(str.maketrans(" ,*", "___"))
    short = run(study, folder / "short")
    long = run(dataclasses.replace(study, learner=longer, **_PARTS.get(name, {})), folder / "long")
    unit = float(short["bayes_risk_curve"][0] - short["bayes_risk_curve"][-1])
    gain = ((short["loss"] - long["loss"]).mean("seed") / unit).values
    part = short.sel(context_length=long["context_length"], dataset_size=long["dataset_size"])
    marked = part["limited_by_optimisation"].any("seed").values
    row: dict[str, object] = {"study": name, "cells": marked.size, "marked": int(marked.sum())}
    for share in (0.005, 0.01):
        better = gain > share
        row |= {
            f"improve by {share:.1%}": int(better.sum()),
            f"false at {share:.1%}": int((marked & ~better).sum()),
            f"missed at {share:.1%}": int((better & ~marked).sum()),
        }
    return row


def simulated(n_seeds: int, deviation: float, doubles: bool, tables: int = 500) -> float:
    """The share of cells that are marked where only the scatter of seeds differs."""
    over, rng = ("context_length", "dataset_size", "seed"), np.random.default_rng(0)
    lengths, sizes = np.array([1, 2, 4, 8]), np.array([64, 128, 256, 512])
    shape = (4, 4, n_seeds)
    growing = deviation * (2 ** np.linspace(0, 1, 4) if doubles else np.ones(4))[:, None]
    marked = []
    for _ in range(tables):
        gap = 0.5 * np.sqrt(lengths[:, None] / sizes)[:, :, None] * np.exp(growing * rng.normal(size=shape))
        table = xr.Dataset(
            {
                "approximation_loss": (over, gap),
                "validation_loss": ((*over, "evaluation"), np.repeat(gap[..., None], 6, axis=-1)),
                "stopped_by": (over, np.full(shape, "patience", object)),
                "steps": (over, np.full(shape, 6)),
                "best_step": (over, np.full(shape, 1)),
                "bayes_risk_curve": ("every_context_length", [1.0, 0.0]),
            },
            coords={"context_length": lengths, "dataset_size": sizes, "seed": range(n_seeds)},
        )
        marked.append(limited_by_optimisation(table)["limited_by_optimisation"].any("seed").mean())
    return float(np.mean(marked))


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.optimisation", description=__doc__)
    parser.add_argument("names", nargs="*", default=list(STUDIES), metavar="STUDY", help=f"of {', '.join(STUDIES)}")
    parser.add_argument("--store", type=pathlib.Path, default=pathlib.Path("optimisation_runs"))
    options = parser.parse_args()
    found = pd.DataFrame([trained(name, options.store) for name in options.names])
    found.loc[len(found)] = {"study": "all", **found.drop(columns="study").sum()}
    print(found.to_string(index=False))
    rows = [
        {
            "seeds": n,
            "deviation of ln G": deviation,
            "doubles": doubles,
            "marked": f"{simulated(n, deviation, doubles):.1%}",
        }
        for n in (2, 4, 8)
        for deviation in (0.1, 0.3)
        for doubles in (False, True)
    ]
    print("", pd.DataFrame(rows).to_string(index=False), sep="\n")


if __name__ == "__main__":
    main()
