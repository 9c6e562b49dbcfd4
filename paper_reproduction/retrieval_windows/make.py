"""Retrieval by a fixed model that sees more or less of its context, as in Figures 3 to 5 of arXiv 2502.01481 v4.

A Transformer stands for the language models there, needles among distractors for the golden paragraphs, at distance x
with density (1 - x/L)^gamma. It was trained on the nearer half of the context only, to see whether it retrieves the
worse the more it sees, as they do. Needles that are all needed are counted by the farthest.
"""

import dataclasses
import functools
import math
import pathlib
from typing import Any

import jax
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from paper_reproduction.kept_parts import ENDLESS, kept_parts, part_spec
from paper_reproduction.report_tables import labelled, mean_and_interval
from paper_reproduction.reproduction import Reproduction, Result, Scale
from simulator.learners import GradientDescent, NetworkPredictor
from simulator.measurement import covariance_eigenvalues, extract_features, kernel_density_entropy
from simulator.models import Transformer
from simulator.random.streams import stream_key
from simulator.tasks import Examples, Retrieval
from simulator.training.curriculum import RandomContext

GAMMAS = (0.25, 1.0, 4.0)


@dataclasses.dataclass(frozen=True)
class Setting:
    """Sizes at a scale.

    Attributes:
        L: number of tokens of the context.
        trained_on: largest number of tokens that training shows, where needles have laws of distance.
        lengths: visible context lengths.
        near, far: bands of the distances of the two needles.
    """

    L: int
    trained_on: int
    lengths: tuple[int, ...]
    near: tuple[int, int]
    far: tuple[int, int]
    steps: int
    seeds: int
    test_size: int
    width: int = 64

    def learner(self) -> GradientDescent:
        """The learner of one network for all context lengths up to that of the run."""
        return GradientDescent(
            Transformer(depth=2, width=self.width, heads=4), steps=self.steps, batch_size=64, learning_rate=2e-3,
            schedule="cosine", warmup=0.05, weight_decay=0.01, validation_size=512, evaluation_every=self.steps,
            curriculum=(RandomContext(whole=0.5),),
        )  # fmt: skip


SETTINGS: dict[Scale, Setting] = {
    "smoke": Setting(
        L=8, trained_on=4, lengths=(4, 8), near=(1, 3), far=(5, 8), steps=10, seeds=1, test_size=200, width=8
    ),
    "laptop": Setting(
        L=32,
        trained_on=16,
        lengths=(1, 2, 4, 6, 8, 12, 16, 20, 24, 28, 32),
        near=(7, 9),
        far=(23, 25),
        steps=2000,
        seeds=2,
        test_size=4096,
        width=32,
    ),
    "paper": Setting(
        L=512,
        trained_on=256,
        lengths=(8, 16, 32, 64, 128, 192, 256, 320, 384, 448, 512),
        near=(120, 136),
        far=(376, 392),
        steps=30_000,
        seeds=4,
        test_size=8192,
    ),
}


def trained(task: Retrieval, setting: Setting, context_length: int, seed: int) -> NetworkPredictor:
    """Train a network for all context lengths up to the given one."""
    predictor = setting.learner().fit(task, context_length, ENDLESS, seed)
    assert isinstance(predictor, NetworkPredictor)
    return predictor


def of_gammas(setting: Setting, gammas: tuple[float, ...], seed: int) -> xr.Dataset:
    """Accuracy, and entropy of the readout's features, of one network, for each law of distances."""
    base = trained(Retrieval(n_needles=1, n_answers=4, max_context_length=setting.L), setting, setting.trained_on, seed)
    shape = (len(gammas), len(setting.lengths))
    accuracy, entropy = np.zeros(shape), np.zeros(shape)
    for i, gamma in enumerate(gammas):
        task = Retrieval(
            n_needles=1, n_answers=4, max_context_length=setting.L, distance_law="position_weighted", exponent=gamma
        )
        predictor = dataclasses.replace(base, task=task)
        examples = task.sample(stream_key(seed, "test"), range(setting.test_size))
        for j, l in enumerate(setting.lengths):
            answers = answered(dataclasses.replace(predictor, context_length=np.int32(l)), examples)
            accuracy[i, j] = np.mean(np.argmax(answers, axis=-1) == np.asarray(examples.target))
            features = extract_features(predictor, "readout", min(setting.test_size, 2048), l, seed, masked=True)
            features = features.astype(np.float64)
            scaled = features / np.sqrt(covariance_eigenvalues(features)[0])
            entropy[i, j] = kernel_density_entropy(scaled, 0.1, "isotropic", leave_one_out=True)
    over = ("gamma", "context_length")
    return xr.Dataset(
        {"accuracy": (over, accuracy), "entropy": (over, entropy)},
        {"gamma": list(gammas), "context_length": list(setting.lengths)},
    )


def of_needles(setting: Setting, seed: int) -> xr.Dataset:
    """Loss of one network where one needle is near, one is far, and both are needed."""
    task = Retrieval(n_needles=2, n_answers=4, max_context_length=setting.L)
    predictor = trained(task, setting, setting.L, seed)
    examples = task.sample(stream_key(seed, "test"), range(40 * setting.test_size))
    relevant = np.asarray(task.relevant_tokens(examples))
    oldest, newest = setting.L - relevant.argmax(axis=1), 1 + relevant[:, ::-1].argmax(axis=1)
    within = (oldest >= setting.far[0]) & (oldest <= setting.far[1])
    within &= (newest >= setting.near[0]) & (newest <= setting.near[1])
    chosen = jax.tree.map(lambda field: field[np.flatnonzero(within)[: setting.test_size]], examples)
    loss = [
        float(
            task.pointwise_loss(
                answered(dataclasses.replace(predictor, context_length=np.int32(l)), chosen), chosen, l
            ).mean()
        )
        for l in setting.lengths
    ]
    exact = [math.log(4) * float(np.mean(oldest[within] > l)) for l in setting.lengths]
    return xr.Dataset(
        {"loss": ("context_length", loss), "exact": ("context_length", exact)},
        {"context_length": list(setting.lengths)},
    )


@jax.jit
def answered(predictor: Any, examples: Examples) -> Float[Array, "B classes"]:
    """Log-probabilities."""
    return predictor(examples)


def make(scale: Scale, folder: pathlib.Path, workers: int) -> Result:
    """Accuracy and entropy against visible context for each gamma, and the loss as needles leave the window."""
    setting, gammas = SETTINGS[scale], (1.0,) if scale == "smoke" else GAMMAS
    parts = {
        part_spec(measure.func.__name__, setting, setting.learner(), gammas, seed): functools.partial(
            measure, seed=seed
        )
        for measure in (functools.partial(of_gammas, setting, gammas), functools.partial(of_needles, setting))
        for seed in range(setting.seeds)
    }
    made = [table.drop_attrs() for table in kept_parts(folder, parts, "networks", workers)]
    found, needles = (xr.concat(some, "seed") for some in (made[: setting.seeds], made[setting.seeds :]))
    exact = {
        gamma: Retrieval(
            n_needles=1, n_answers=4, max_context_length=setting.L, distance_law="position_weighted", exponent=gamma
        )
        for gamma in gammas
    }
    best = xr.DataArray(
        [[task.bayes_accuracy(l) for l in setting.lengths] for task in exact.values()], dims=("gamma", "context_length")
    )
    known = xr.DataArray(
        [[task.intrinsic_entropy(l) for l in setting.lengths] for task in exact.values()],
        dims=("gamma", "context_length"),
    )
    labels = {"context_length": "visible context $l$ (tokens)", "of": "what"}
    entropies = "entropy, of features up to a constant (nats)"
    panels = [f"$\\gamma$ = {gamma:g}" for gamma in gammas]

    def beside(measured: xr.DataArray, truth: xr.DataArray, names: list[str], value: str) -> xr.Dataset:
        found = mean_and_interval(measured)
        true = xr.Dataset(dict.fromkeys(("value", "lower", "upper"), truth)).assign_coords(found.coords)
        both = xr.concat([found, true], "of").assign_coords(of=names)
        return labelled(both, {**labels, "value": value})

    def over_gammas(table: xr.Dataset) -> xr.Dataset:
        return table.assign_coords(gamma=panels).transpose("gamma", "of", "context_length")

    return Result({
        "accuracy": over_gammas(beside(found["accuracy"], best, ["Transformer", "Bayes"], "accuracy (no unit)")),
        "entropy": over_gammas(
            beside(found["entropy"], known, ["features, kernel density", "exact"], entropies)
        ),
        "needles": beside(
            needles["loss"], needles["exact"].mean("seed"), ["Transformer", "Bayes"],
            f"loss, needles at {setting.near[0]}-{setting.near[1]} and {setting.far[0]}-{setting.far[1]} (nats)",
        ),
    })  # fmt: skip


REPRODUCTION = Reproduction(
    "Retrieval by what a fixed model sees",
    claim="A fixed model has a best visible context, which is nearer for larger gamma.",
    source="arXiv 2502.01481 v4, Figures 3 and 4",
    make=make,
)
