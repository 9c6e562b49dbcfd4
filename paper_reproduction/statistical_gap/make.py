"""What can be learned of the 50 published pairs, and what a network learns of them.

Bayes' rule over all pairs (:class:`simulator.learners.ParityPosterior`) needs some log2 C(l, 2) samples a task. Ridge
regression on all products of two bits needs some C(l, 2). The gap between them is computational.
"""

import dataclasses
import pathlib

import numpy as np
import xarray as xr

from paper_reproduction.report_tables import labelled
from paper_reproduction.reproduction import Reproduction, Result, Scale
from simulator import Study, run
from simulator.learners import GradientDescent, Learner, ParityPosterior, PolynomialRidge
from simulator.tasks import SparseParity


def learners(scale: Scale) -> dict[str, tuple[Learner, tuple[int, ...], int]]:
    """Each with its dataset sizes and number of seeds.

    The network and its settings are the published ones. Scale ``laptop`` has mixed precision, a smaller validation set
    and one seed. Shorter or more impatient trainings learn nothing.
    """
    few = ParityPosterior(noise_prior=0.9)
    if scale == "smoke":
        return {
            "Bayes' rule": (few, (250, 1000), 1),
            "ridge on pairs": (PolynomialRidge(degree=2, penalty=0.1), (250, 1000), 1),
        }
    paper = GradientDescent.paper_v1()
    smaller = dataclasses.replace(paper, precision="mixed", validation_size=8192, selection="validation")
    sizes = (*(250 * 2**i for i in range(10)), 200_000, 400_000)
    seeds = 2 if scale == "laptop" else 8
    return {
        "Bayes' rule": (few, sizes, seeds),
        "ridge on pairs": (PolynomialRidge(degree=2, penalty=0.1), sizes, seeds),
        "MLP": (paper, sizes, seeds) if scale == "paper" else (smaller, sizes, 1),
    }


def make(scale: Scale, folder: pathlib.Path, workers: int) -> Result:
    """Smallest loss over the context lengths, and the length of it, against D."""
    task, lengths = SparseParity.paper_v1(), (21, 27, 36, 43, 63, 94)[: 2 if scale == "smoke" else None]
    losses, best = {}, {}
    for name, (learner, sizes, seeds) in learners(scale).items():
        study = Study(task, learner, lengths, sizes, seeds=seeds, test_size=1024 if scale == "smoke" else 8192)
        results = run(study, folder / "runs" / name.replace(" ", "_").replace("'", ""), workers=workers)
        loss = results["loss"].mean("seed")
        losses[name] = results["loss"].isel(context_length=loss.argmin("context_length")).drop_vars("context_length")
        best[name] = loss["context_length"][loss.argmin("context_length")].drop_vars("context_length")
    names = list(losses)
    smallest = xr.concat(list(losses.values()), "learner", join="outer").assign_coords(learner=names)
    mean = smallest.mean("seed")
    error = smallest.std("seed") / np.sqrt(np.maximum(smallest.count("seed"), 1))
    loss_table = xr.Dataset({"value": mean, "lower": mean - error, "upper": mean + error})
    chosen = xr.concat(list(best.values()), "learner", join="outer").assign_coords(learner=names)
    at_edge = chosen.isin([lengths[0], lengths[-1]])
    length_table = xr.Dataset({"value": chosen, "lower": chosen, "upper": chosen, "at_edge": at_edge})
    labels = {"dataset_size": "dataset size $D$ (samples)", "learner": "learner"}
    return Result(
        {
            "smallest_loss": labelled(loss_table, labels | {"value": "smallest loss over $l$ (nats)"}),
            "optimal_context_length": labelled(
                length_table, labels | {"value": "$l^*$ (tokens); open: at the grid's end"}, scale="log2"
            ),
        }
    )


REPRODUCTION = Reproduction(
    "Statistical against computational gap on the 50 published pairs",
    claim="With the published settings l* grows with D; how much of it is computational?",
    source="arXiv 2502.01481 v4, Figures 1 and 15",
    make=make,
)
