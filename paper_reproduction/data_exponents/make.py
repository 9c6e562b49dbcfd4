"""The exponent of learning against dimension, for nearest neighbours (alpha d = 2) and for an MLP.

G = KL of the prediction to the Bayes predictor of a teacher on l latents (:class:`simulator.tasks.ManifoldTeacher`),
and alpha = -d ln G / d ln D by least squares over the dataset sizes. Nearest neighbours resolve the manifold: 2/d. A
smooth interpolant of second order would have 4/d (arXiv 2004.10802).
"""

import pathlib

import numpy as np
import xarray as xr
from jaxtyping import Float

from paper_reproduction.report_tables import labelled
from paper_reproduction.reproduction import Reproduction, Result, Scale
from simulator import Study, run
from simulator.learners import GradientDescent, NearestNeighbour
from simulator.models import MLP
from simulator.tasks import ManifoldTeacher
from theory.measured.intervals import jackknife_interval


def studies(scale: Scale) -> dict[str, Study]:
    """Nearest neighbours get noise-free labels, because a copied label repeats its noise. The network gets answers."""
    task, dimensions, smoke = ManifoldTeacher(8, n_frequencies=1), range(2, 9), scale == "smoke"
    network = GradientDescent(
        MLP((64, 64)), steps=3000, learning_rate=3e-3, batch_size=128, weight_decay=0.01, validation_size=1024
    )
    if smoke:
        few = NearestNeighbour(labels="bayes")
        return {"nearest neighbour": Study(task, few, dimensions[:2], (64, 256, 1024), seeds=2, test_size=512)}
    sizes = [4**i for i in range(6, 10)], [2**i for i in range(9, 15)]
    seeds = 4 if scale == "laptop" else 16
    return {
        "nearest neighbour": Study(
            task, NearestNeighbour(labels="bayes"), dimensions, sizes[0], seeds=seeds, test_size=2048
        ),
        "MLP": Study(task, network, dimensions, sizes[1], seeds=seeds, test_size=4096),
    }


def exponents(results: xr.Dataset) -> tuple[Float[np.ndarray, "l"], Float[np.ndarray, "l"], Float[np.ndarray, "l"]]:
    """alpha at each context length, with the ends of its interval by the jackknife over seeds."""
    gaps = results["approximation_loss"].transpose("context_length", "dataset_size", "seed").values
    log_size = np.log(results["dataset_size"].values.astype(float))
    centred = log_size - log_size.mean()

    def slope(gap: Float[np.ndarray, "l D"]) -> Float[np.ndarray, "l"]:
        return -np.log(gap) @ centred / (centred @ centred)

    return jackknife_interval(slope, gaps)


def make(scale: Scale, folder: pathlib.Path, workers: int) -> Result:
    """alpha against dimension for each learner, and the two lines that theories draw."""
    rows, names, of = [], [], studies(scale)
    dimension = np.array(of["nearest neighbour"].context_lengths)
    for name, study in of.items():
        results = run(study, folder / "runs" / name.replace(" ", "_"), workers=workers)
        rows.append(exponents(results))
        names.append(name)
    for numerator in (2, 4):
        rows.append((numerator / dimension,) * 3)
        names.append(f"{numerator}/d")
    over = ("learner", "dimension")
    parts = zip(("value", "lower", "upper"), zip(*rows, strict=True), strict=True)
    table = xr.Dataset(
        {part: (over, np.stack(values)) for part, values in parts}, {"learner": names, "dimension": dimension}
    )
    labels = {
        "value": "exponent of learning, $-d \\ln G / d \\ln D$ (no unit)",
        "dimension": "dimension of what is seen (tokens)",
        "learner": "learner, or theory",
    }
    return Result({"exponent_against_dimension": labelled(table, labels, scale="log2")})


REPRODUCTION = Reproduction(
    "Exponent of learning against intrinsic dimension",
    claim="The exponent of learning is alpha = 2/d or 4/d for data of dimension d.",
    source="arXiv 2004.10802",
    make=make,
)
