"""Is the loss linear in the entropy of what was seen (Assumption 3 of arXiv 2502.01481 v4)?

For parities asked equally often R(l) = ln 2 - S(P_l)/T holds exactly. Asked unequally, each parity adds ln 2 to S and
takes its own frequency off R. For a renewal process the entropy of the age grows on where R is flat. The figure shows
the slope -dR/dS between neighbouring context lengths over the slope from first to last. For a linear law it is 1.
"""

import dataclasses
import functools
import itertools
import pathlib
from collections.abc import Callable, Iterable

import numpy as np
import xarray as xr
from jaxtyping import Float

from paper_reproduction.kept_parts import ENDLESS, kept_parts, part_spec
from paper_reproduction.report_tables import labelled, mean_and_interval
from paper_reproduction.reproduction import Reproduction, Result, Scale
from simulator.learners import GradientDescent, NetworkPredictor
from simulator.learners.evaluation import evaluate
from simulator.measurement import (
    ThresholdedSpectrum,
    covariance_eigenvalues,
    extract_features,
    kernel_density_entropy,
)
from simulator.models import TwoBranchMLP
from simulator.tasks import Renewal, SparseParity, Task

BANDWIDTH = 0.1
"""Bandwidth of the kernels over the standard deviation along the longest principal axis."""
THRESHOLD = 0.01
"""An eigenvalue counts as a dimension if its ratio to the largest is above this."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """Sizes at a scale. ``steps`` is the number of steps of each training; ``left_out`` names tasks to leave out."""

    context_lengths: tuple[int, ...]
    steps: int
    n_samples: int
    seeds: int
    left_out: tuple[str, ...] = ()

    def tasks(self) -> dict[str, Task]:
        """Tasks by name. Every context length is the first to answer one parity."""
        lengths = self.context_lengths
        pairs, L = tuple((far, 1) for far in lengths), lengths[-1]
        falling = tuple(k**-1.15 for k in range(1, len(pairs) + 1))
        tasks = {
            "parities, asked equally often": SparseParity(pairs=pairs, max_context_length=L),
            "parities, frequency k^-1.15": SparseParity(pairs=pairs, max_context_length=L, frequencies=falling),
            "renewal process, a = 1.5": Renewal(exponent=1.5, max_context_length=L),
        }
        return {name: task for name, task in tasks.items() if name not in self.left_out}


SETTINGS: dict[Scale, Setting] = {
    "smoke": Setting(
        context_lengths=(2, 3, 4),
        steps=20,
        n_samples=200,
        seeds=1,
        left_out=("parities, asked equally often", "renewal process, a = 1.5"),
    ),
    "laptop": Setting(context_lengths=(2, 3, 4, 6, 8, 12, 16, 24), steps=4000, n_samples=4096, seeds=2),
    "paper": Setting(context_lengths=(2, 3, 4, 6, 8, 12, 16, 24, 32), steps=20_000, n_samples=8192, seeds=8),
}


def relative_slopes(
    loss: Float[np.ndarray, "*seeds l"], entropy: Float[np.ndarray, "*seeds l"]
) -> Float[np.ndarray, "*seeds steps"]:
    """-dR/dS between neighbouring context lengths over that from the first to the last; without unit."""
    of_steps = np.diff(loss, axis=-1) / np.diff(entropy, axis=-1)
    over_all = (loss[..., -1] - loss[..., 0]) / (entropy[..., -1] - entropy[..., 0])
    return of_steps / over_all[..., None]


def learner(steps: int) -> GradientDescent:
    """The network and its training, the same for every generator."""
    return GradientDescent(
        TwoBranchMLP(128, 16, 64), steps=steps, batch_size=256, learning_rate=5e-3, schedule="cosine",
        weight_decay=1e-3, evaluation_every=steps, validation_size=256,
    )  # fmt: skip


def measured(task: Task, setting: Setting, length: int, seed: int) -> xr.Dataset:
    """Loss (nats), entropy (nats, up to a constant) and dimension of a network trained on endless data at a length."""
    predictor = learner(setting.steps).fit(task, length, ENDLESS, seed)
    assert isinstance(predictor, NetworkPredictor)
    features = extract_features(predictor, "layer 1", setting.n_samples, seed=seed)
    scaled = features.astype(np.float64) / np.sqrt(covariance_eigenvalues(features)[0])
    found = {
        "loss": evaluate(task, predictor, seed, setting.n_samples).approximation_loss + task.bayes_risk(length),
        "entropy": kernel_density_entropy(scaled, BANDWIDTH, "isotropic", leave_one_out=True),
        "dimension": ThresholdedSpectrum(THRESHOLD)(features),
    }
    return xr.Dataset(found)


def exact(task: Task, length: int) -> xr.Dataset:
    """The exact values of what :func:`measured` estimates."""
    found = {
        "loss": task.bayes_risk(length),
        "entropy": task.intrinsic_entropy(length),
        "dimension": task.intrinsic_dimension(length),
    }
    return xr.Dataset(found)


def make(scale: Scale, folder: pathlib.Path, workers: int) -> Result:
    """Relative slopes and dimensions against context length, exact and measured."""
    setting = SETTINGS[scale]
    tasks, lengths, seeds = setting.tasks(), setting.context_lengths, range(setting.seeds)
    parts: dict[str, Callable[[], xr.Dataset]] = {}
    for task, seed, length in itertools.product(tasks.values(), seeds, lengths):
        spec = part_spec(task, learner(setting.steps), length, setting.n_samples, BANDWIDTH, THRESHOLD, seed)
        parts[spec] = functools.partial(measured, task, setting, length, seed)
    made = iter(kept_parts(folder, parts, "trainings", workers))

    def over_lengths(tables: Iterable[xr.Dataset]) -> xr.Dataset:
        return xr.concat([table.drop_attrs() for table in tables], "context_length")

    of_tasks = []
    for task in tasks.values():
        truth = over_lengths(exact(task, length) for length in lengths)
        found = xr.concat([over_lengths(itertools.islice(made, len(lengths))) for _ in seeds], "seed")
        of_tasks.append(xr.concat([truth.broadcast_like(found), found], "from"))
    names = {"generator": list(tasks), "from": ["exact", "measured in features"], "context_length": list(lengths)}
    table = xr.concat(of_tasks, "generator").assign_coords(names).transpose("generator", "from", "seed", ...)
    slopes = (
        table["loss"]
        .isel(context_length=slice(1, None))
        .copy(data=relative_slopes(table["loss"].values, table["entropy"].values))
    )
    labels = {
        "value": "$-\\Delta R / \\Delta S$ over its mean (no unit)",
        "context_length": "$l$, from the length before (tokens)",
        "from": "entropy and loss",
    }
    of_dimension = {
        "value": "intrinsic dimension (no unit)",
        "context_length": "context length $l$ (tokens)",
        "from": "dimension",
    }
    return Result(
        {
            "slope_of_the_law": labelled(mean_and_interval(slopes), labels),
            "dimension_of_features": labelled(mean_and_interval(table["dimension"]), of_dimension, scale="log2"),
        }
    )


REPRODUCTION = Reproduction(
    "Is loss linear in the entropy of what was seen?",
    claim="The loss is linear in the entropy of what was seen.",
    source="arXiv 2502.01481 v4, Assumption 3",
    make=make,
)
