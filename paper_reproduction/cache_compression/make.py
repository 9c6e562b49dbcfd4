"""RazorAttention at small scale: the cost of a compressed cache of keys and values, by the heads that stay whole.

Tang et al. 2024, arXiv 2407.15891. The exact divergence from the Bayes prediction stands for the benchmarks there.
"""

import dataclasses
import functools
import itertools
import pathlib
from typing import Any

import jax
import numpy as np
import xarray as xr
from jaxtyping import Bool

from paper_reproduction.kept_parts import ENDLESS, kept_parts, part_spec
from paper_reproduction.report_tables import labelled, mean_and_interval
from paper_reproduction.reproduction import Reproduction, Result, Scale
from simulator.inference import CacheCompression, compressed, kept_fraction
from simulator.learners import GradientDescent, NetworkPredictor
from simulator.measurement import retrieval_heads
from simulator.models import Transformer
from simulator.random.streams import stream_key
from simulator.tasks import AssociativeRecall, Examples, Retrieval, SparseParity, Task

COMPRESSIONS = (1, 2, 4, 8, 16)
"""Wanted ratio of the entries of the whole cache to the kept ones."""
KINDS = ("retrieval heads whole", "random heads whole", "window only")


@dataclasses.dataclass(frozen=True)
class Setting:
    """Sizes at a scale."""

    tasks: tuple[Task, ...]
    model: Transformer
    steps: int
    seeds: int
    test_size: int
    distances: tuple[int, ...]
    compressions: tuple[int, ...] = COMPRESSIONS


def setting(scale: Scale) -> Setting:
    """A needle, pairs of keys and values, parities of two bits, near and far."""
    if scale == "smoke":
        return Setting(
            tasks=(Retrieval(n_needles=1, n_answers=4, max_context_length=16),),
            model=Transformer(depth=1, width=16, heads=8),
            steps=10,
            seeds=1,
            test_size=128,
            distances=(4, 8, 16),
            compressions=(1, 4),
        )
    L, n, steps, seeds = (64, 8, 1500, 3) if scale == "laptop" else (512, 64, 20_000, 4)
    tasks = (
        Retrieval(n_needles=1, n_answers=4, max_context_length=L),
        AssociativeRecall(n_pairs=n, n_keys=n, n_values=4),
        SparseParity(pairs=((2, 1), (9, 2)), max_context_length=16),
    )
    model = Transformer(depth=2, width=64, heads=16)
    return Setting(
        tasks=tasks,
        model=model,
        steps=steps,
        seeds=seeds,
        test_size=2048,
        distances=tuple(L // 2**i for i in range(4, -1, -1)),
    )


def split(compression: int, n_heads: int, n_tokens: int) -> tuple[int, CacheCompression]:
    """Give half of the kept entries to whole heads, at least one; the others share the rest, at least two tokens."""
    whole = max(1, round(n_heads / (2 * compression)))
    left = (n_heads / compression - whole) / (n_heads - whole)
    entries = max(2, round(left * n_tokens))
    sinks = min(4, (entries - 1) // 3)
    return whole, CacheCompression(window=entries - 1 - sinks, sinks=sinks)


def window_only(compression: int, n_tokens: int) -> CacheCompression:
    """The same number of tokens for every head, without a compensation token."""
    entries = max(1, round(n_tokens / compression))
    sinks = min(4, entries // 3)
    return CacheCompression(window=entries - sinks, sinks=sinks, compensate=False)


def chosen_heads(kind: str, whole: int, predictor: NetworkPredictor, seed: int) -> Bool[np.ndarray, "layers H"]:
    """Choose ``whole`` heads at random, or by their scores: one by echo if several, as 1 to 14 in the paper."""
    spec = predictor.model
    assert isinstance(spec, Transformer)
    n_heads = spec.depth * spec.heads
    if kind == KINDS[0]:
        echo = 1 if whole > 1 else 0
        return retrieval_heads(predictor, jax.random.key(seed), (whole - echo) / n_heads, echo / n_heads)
    places = np.random.default_rng(seed).permutation(n_heads)[:whole]
    return np.isin(np.arange(n_heads), places).reshape(spec.depth, spec.heads)


def make(scale: Scale, folder: pathlib.Path, workers: int) -> Result:
    """The divergence over compressions, for each task; and over the distance of the needle, at the fourfold one."""
    sizes = setting(scale)
    names = [type(task).__name__ for task in sizes.tasks]
    parts = {
        part_spec(task, sizes.model, sizes.steps, sizes.test_size, seed): functools.partial(_of_task, sizes, task, seed)
        for task in sizes.tasks
        for seed in range(sizes.seeds)
    }
    made = iter(kept_parts(folder, parts, "networks", workers))
    tables = xr.concat(
        [xr.concat([next(made) for _ in range(sizes.seeds)], "seed") for _ in sizes.tasks], "task"
    ).assign_coords(task=names)
    names_of = {"value": "divergence from the Bayes prediction (nats)", "kind": "cache"}
    over = mean_and_interval(tables["divergence"]).assign(actual_compression=tables["actual_compression"].mean("seed"))
    over = labelled(over, {**names_of, "compression": "compression wanted"})
    near = mean_and_interval(tables["by_distance"].sel(task="Retrieval", drop=True))
    near = labelled(near, {**names_of, "distance": "distance of the needle, up to (tokens)"})
    return Result(
        {
            "divergence_against_compression": over.transpose("task", "kind", "compression"),
            "divergence_against_distance": near.transpose("kind", "distance"),
        }
    )


def _of_task(sizes: Setting, task: Task, seed: int) -> xr.Dataset:
    """One trained network under every compression."""
    learner = GradientDescent(
        sizes.model,
        steps=sizes.steps,
        learning_rate=3e-3,
        schedule="cosine",
        warmup=0.05,
        validation_size=512,
        evaluation_every=sizes.steps,
    )
    predictor = learner.fit(task, task.max_context_length, ENDLESS, seed)
    assert isinstance(predictor, NetworkPredictor)
    n_heads, n_tokens = sizes.model.depth * sizes.model.heads, task.max_context_length
    examples = task.sample(stream_key(seed, "test"), range(sizes.test_size))
    bayes = task.bayes_prediction(examples, n_tokens)
    relevant = np.asarray(task.relevant_tokens(examples))
    distance = n_tokens - np.argmax(relevant, axis=1)  # of the oldest token that bears on an answer
    shape = (len(KINDS), len(sizes.compressions))
    divergence, actual = np.zeros(shape), np.ones(shape)
    by_distance = np.full((len(KINDS), len(sizes.distances)), np.nan)
    edges = (0, *sizes.distances)
    for i, kind in enumerate(KINDS):
        for j, compression in enumerate(sizes.compressions):
            answers = predictor
            if compression > 1:
                whole, how = split(compression, n_heads, n_tokens)
                if kind == KINDS[2]:
                    whole, how = 0, window_only(compression, n_tokens)
                heads = chosen_heads(kind, whole, predictor, seed)
                answers = compressed(predictor, how, heads)
                actual[i, j] = 1 / kept_fraction(how, heads, n_tokens)
            each = np.asarray(task.pointwise_divergence(bayes, _answer(answers, examples), examples, n_tokens))
            divergence[i, j] = each.mean()
            if compression == 4:
                for d, (a, b) in enumerate(itertools.pairwise(edges)):
                    here = (distance > a) & (distance <= b)
                    by_distance[i, d] = each[here].mean() if here.any() else np.nan
    return xr.Dataset(
        {
            "divergence": (("kind", "compression"), divergence),
            "actual_compression": (("kind", "compression"), actual),
            "by_distance": (("kind", "distance"), by_distance),
        },
        {"kind": list(KINDS), "compression": list(sizes.compressions), "distance": list(sizes.distances)},
    )


@jax.jit
def _answer(predictor: Any, examples: Examples) -> jax.Array:
    return predictor(examples)


REPRODUCTION = Reproduction(
    "A compressed cache of keys and values",
    claim="With 15 % of the heads whole, 32 % of the cache suffices.",
    source="RazorAttention, arXiv 2407.15891",
    make=make,
)
