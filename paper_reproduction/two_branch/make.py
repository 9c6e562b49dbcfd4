"""The features of a two-branch network on the 50 published pairs: how many dimensions, how much entropy, and the loss.

Its context branch does not know the question, so its features must hold every parity that can be asked for: 16 to 43
of them, by context length. Exactly, R(l) = ln 2 (50 - dim(l)) / 50 and S = dim ln 2: slopes -ln 2 / 50 and -1/50.
"""

import dataclasses
import functools
import math
import pathlib

import numpy as np
import xarray as xr

from paper_reproduction.all_questions import TwoBranchTraining
from paper_reproduction.kept_parts import kept_parts, part_spec
from paper_reproduction.report_tables import labelled
from paper_reproduction.reproduction import Reproduction, Result, Scale
from paper_reproduction.spectra import READING, exact_lines, of_features, tables
from simulator.learners import NetworkPredictor
from simulator.learners.evaluation import evaluate
from simulator.measurement import extract_features
from simulator.models import TwoBranchMLP
from simulator.random.streams import stream_key
from simulator.tasks import SparseParity

THRESHOLD = 0.05
"""An eigenvalue above this fraction of the largest counts as a dimension. The value was fixed on two networks that are
not measured: their gaps are from 0.4 to 0.01 at l = 27 and from 0.12 to 0.035 at l = 94."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """What is measured at a scale.

    Attributes:
        steps: of training, by context length. The 43 parities at 94 need more than others; 16 parities, trained for
            16,000 steps of 256 contexts, lost the weakest to weight decay.
        contexts: of a batch.
        n_samples: whose features are read.
        seeds: networks of each context length.
    """

    steps: dict[int, int]
    contexts: int = 512
    n_samples: int = 10_000
    seeds: int = 2

    def training(self, length: int) -> TwoBranchTraining:
        """The published network on endless contexts."""
        return TwoBranchTraining(
            SparseParity.paper_v1(), TwoBranchMLP(), self.steps[length], 3e-3, self.contexts, weight_decay=0.12,
            context_length=length,
        )  # fmt: skip


STEPS = {**dict.fromkeys((27, 32, 36, 43, 63), 6000), 94: 12_000}
SETTINGS: dict[Scale, Setting] = {
    "smoke": Setting({27: 10, 43: 10}, 16, 200, 1),
    "laptop": Setting(STEPS),
    "paper": Setting(STEPS, contexts=1024, seeds=8),
}


def measured(training: TwoBranchTraining, n_samples: int, seed: int) -> xr.Dataset:
    """One network: its loss, and everything that is read off its features."""
    task, model, length = training.task, training.model, training.context_length
    start = model.init(task, stream_key(seed, "initialisation"), length)
    predictor = NetworkPredictor(task, model, training.run(start, seed, f"l = {length}"), np.int32(length))
    found = of_features(extract_features(predictor, "layer 1", n_samples, seed=seed))
    divergence = evaluate(task, predictor, seed, n_samples).approximation_loss
    return found.assign(cross_entropy=divergence + task.bayes_risk(length))


def make(scale: Scale, folder: pathlib.Path, workers: int) -> Result:
    """Dimensions against the number of solvable parities, and what :func:`spectra.tables` draws."""
    setting, task = SETTINGS[scale], SparseParity.paper_v1()
    lengths, seeds = sorted(setting.steps, reverse=True), range(setting.seeds)  # longest trainings first
    parts = {
        part_spec(setting.training(length), setting.n_samples, READING, seed): functools.partial(
            measured, setting.training(length), setting.n_samples, seed
        )
        for length in lengths
        for seed in seeds
    }
    made = iter([table.drop_attrs() for table in kept_parts(folder, parts, "networks", workers)])
    of_lengths = [xr.concat([next(made) for _ in seeds], "seed") for _ in lengths]
    found = xr.concat(of_lengths, "context_length").assign_coords(context_length=lengths).sortby("context_length")
    solvable = xr.DataArray([float(task.solvable_tasks(l)) for l in lengths], {"context_length": lengths}).sortby(
        "context_length"
    )
    dimension = found["dimension"].sel(threshold=THRESHOLD, drop=True)
    counted = xr.Dataset(
        {"value": dimension.mean("seed"), "lower": dimension.min("seed"), "upper": dimension.max("seed")}
    )
    truth = xr.Dataset(dict.fromkeys(("value", "lower", "upper"), solvable))
    both = xr.concat([truth, counted], "of").assign_coords(of=["solvable parities", f"features, threshold {THRESHOLD}"])
    labels = {"value": "dimension (no unit)", "context_length": "context length $l$ (tokens)", "of": "dimensions of"}
    drawn = tables(found)
    for name, slope in (("slope_on_dimension", -math.log(2) / 50), ("slope_on_entropy", -1 / 50)):
        drawn[name] = exact_lines(drawn[name], slope)
    return Result({"dimension_against_parities": labelled(both, labels), **drawn})


REPRODUCTION = Reproduction(
    "Two-branch network on the 50 published pairs",
    claim="The dimension of the features equals the number of parities that the context answers.",
    source="arXiv 2502.01481 v4, Figure 18",
    make=make,
)
