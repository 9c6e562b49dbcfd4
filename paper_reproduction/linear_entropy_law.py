"""Is the loss linear in the entropy of what was seen (Assumption 3 of arXiv 2502.01481 v4)? Three generators, one
network, one estimator.

Exactly: for parities asked equally often R(l) = ln 2 - S(P_l)/T; asked unequally, each adds ln 2 to S and takes its own
frequency off R; of a renewal process the entropy of the age grows on where R has long been flat. The figure shows the
slope -dR/dS from one context length to the next over the slope from first to last: a linear law is 1 throughout.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable

import numpy as np
import xarray as xr
from jaxtyping import Float

from paper_reproduction.experiment import ENDLESS, Experiment, kept_parts, labelled, mean_and_interval
from paper_reproduction.reproduce import Scale
from simulator.evaluation import evaluate
from simulator.learners import GradientDescent, NetworkPredictor
from simulator.measurement import (
    ThresholdedSpectrum,
    covariance_eigenvalues,
    extract_features,
    kernel_density_entropy,
)
from simulator.models import TwoBranchMLP
from simulator.specification import canonical_json
from simulator.tasks import Renewal, SparseParity, Task

BANDWIDTH = 0.1
"""Of the kernels, over the standard deviation along the longest principal axis."""
THRESHOLD = 0.01
"""Of an eigenvalue over the largest, for it to count as a dimension."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """What is measured at a scale; ``steps`` are those of each training, ``left_out`` names tasks."""

    context_lengths: tuple[int, ...]
    steps: int
    n_samples: int
    seeds: int
    left_out: tuple[str, ...] = ()

    def tasks(self) -> dict[str, Task]:
        """Every context length has a parity that it is the first to answer."""
        lengths = self.context_lengths
        pairs, L = tuple((far, 1) for far in lengths), lengths[-1]
        falling = tuple(k**-1.15 for k in range(1, len(pairs) + 1))
        tasks = {
            "parities, asked equally often": SparseParity(pairs, L),
            "parities, frequency k^-1.15": SparseParity(pairs, L, falling),
            "renewal process, a = 1.5": Renewal(1.5, L),
        }
        return {name: task for name, task in tasks.items() if name not in self.left_out}


SETTINGS: dict[Scale, Setting] = {
    "smoke": Setting((2, 3, 4), 50, 500, 2, left_out=("parities, asked equally often",)),
    "laptop": Setting((2, 3, 4, 6, 8, 12, 16, 24), 4000, 4096, 2),
    "paper": Setting((2, 3, 4, 6, 8, 12, 16, 24, 32), 20_000, 8192, 8),
}


def relative_slopes(
    loss: Float[np.ndarray, "*seeds l"], entropy: Float[np.ndarray, "*seeds l"]
) -> Float[np.ndarray, "*seeds steps"]:
    """-dR/dS between neighbouring context lengths over that from the first to the last; without unit."""
    of_steps = np.diff(loss, axis=-1) / np.diff(entropy, axis=-1)
    over_all = (loss[..., -1] - loss[..., 0]) / (entropy[..., -1] - entropy[..., 0])
    return of_steps / over_all[..., None]


def measured(task: Task, steps: int, length: int, n_samples: int, seed: int) -> xr.Dataset:
    """Loss, entropy and dimension of a network trained on endless data at a context length."""
    learner = GradientDescent(
        TwoBranchMLP(128, 16, 64), steps=steps, batch_size=256, learning_rate=5e-3, schedule="cosine",
        weight_decay=1e-3, evaluation_every=steps, validation_size=256,
    )  # fmt: skip
    predictor = learner.fit(task, length, ENDLESS, seed)
    assert isinstance(predictor, NetworkPredictor)
    features = extract_features(predictor, "layer 1", n_samples, seed=seed)
    scaled = features.astype(np.float64) / np.sqrt(covariance_eigenvalues(features)[0])
    found = {
        "loss": evaluate(task, predictor, seed, n_samples).approximation_loss + task.bayes_risk(length),
        "entropy": kernel_density_entropy(scaled, BANDWIDTH, "isotropic", leave_one_out=True),
        "dimension": ThresholdedSpectrum(THRESHOLD)(features),
    }
    return xr.Dataset(found)


def measure(scale: Scale, folder: pathlib.Path, workers: int) -> dict[str, xr.Dataset]:
    """Relative slopes and dimensions against context length, exact and measured."""
    setting = SETTINGS[scale]
    tasks, lengths = setting.tasks(), np.array(setting.context_lengths)
    parts: dict[str, Callable[[], xr.Dataset]] = {}
    for task in tasks.values():
        for seed in range(setting.seeds):
            for length in setting.context_lengths:
                spec = canonical_json((task, setting.steps, setting.n_samples, length, seed))
                parts[spec] = functools.partial(measured, task, setting.steps, length, setting.n_samples, seed)
    made = iter(kept_parts(folder, parts, "trainings"))
    of_tasks = []
    for task in tasks.values():
        by_seed = [xr.concat([next(made).drop_attrs() for _ in lengths], "l") for _ in range(setting.seeds)]
        found = {name: values.values for name, values in xr.concat(by_seed, "seed").items()}
        risk, entropy, dimension = (
            np.array([of(int(l)) for l in lengths])
            for of in (task.bayes_risk, task.intrinsic_entropy, task.intrinsic_dimension)
        )
        exact = np.broadcast_to(relative_slopes(risk, entropy), (setting.seeds, len(lengths) - 1))
        over = ("from", "seed", "context_length")
        slopes = np.stack([exact, relative_slopes(found["loss"], found["entropy"])])
        dimensions = np.stack([np.broadcast_to(dimension, found["dimension"].shape), found["dimension"]])
        labels = {"from": ["exact", "measured in features"]}
        of_tasks.append(
            (
                xr.DataArray(slopes, {**labels, "context_length": lengths[1:]}, over),
                xr.DataArray(dimensions, {**labels, "context_length": lengths}, over),
            )
        )
    slopes, dimensions = (
        mean_and_interval(xr.concat(tables, "generator").assign_coords(generator=list(tasks)))
        for tables in zip(*of_tasks, strict=True)
    )
    names = {"generator": "generator", "from": "entropy and loss"}
    return {
        "slope_of_the_law": labelled(
            slopes,
            {
                **names,
                "value": "$-\\Delta R / \\Delta S$ over its mean (no unit)",
                "context_length": "$l$, from the length before (tokens)",
            },
        ),
        "dimension_of_features": labelled(
            dimensions,
            {
                **names,
                "from": "dimension",
                "value": "intrinsic dimension (no unit)",
                "context_length": "context length $l$ (tokens)",
            },
            scale="log2",
        ),
    }


EXPERIMENT = Experiment("Is loss linear in the entropy of what was seen?", measure)
