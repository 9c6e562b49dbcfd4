"""Shows a task: its exact truth as a table, and one sequence as text with what each context length sees of it."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from simulator.random.streams import stream_key
from simulator.specification import canonical_json
from simulator.tasks.base import Examples, Task
from theory.checks import check_integer
from theory.types import Integer

_DRAWN = 12
"""Sequences in the table of a task's truth."""
_WIDEST = 400
"""Context lengths up to which every one is shown; beyond, they are spaced evenly in the logarithm."""


def truth_of_task(task: Task, seed: Integer = 0) -> xr.Dataset:
    """R(l), dim(l), S(P_l) and a few drawn sequences of a task, for the figures.

    Returns:
        Over ``context_length`` (0 to L, or about 100 of them spread evenly in the logarithm where L > 400):
        ``bayes_risk`` in ``attrs["unit"]``, ``intrinsic_dimension``, ``intrinsic_entropy`` in nats (NaN where there is
        none). Over (sequence, distance), distance 1 the newest: ``token`` (the first number of a vector) and
        ``relevant``. Attributes ``task`` (its JSON), ``name``, ``unit`` and ``risk_exponent`` (NaN for none).
    """
    L = task.max_context_length
    lengths = shown_lengths(L, 100)
    examples = _drawn(task, check_integer("seed", seed, 0, 2**31 - 1))
    tokens = np.asarray(examples.context, np.float64).reshape(_DRAWN, L, -1)[:, ::-1, 0]
    entropies = [task.intrinsic_entropy(length) for length in lengths]
    return xr.Dataset(
        {
            "bayes_risk": ("context_length", [task.bayes_risk(length) for length in lengths]),
            "intrinsic_dimension": ("context_length", [task.intrinsic_dimension(length) for length in lengths]),
            "intrinsic_entropy": ("context_length", [math.nan if S is None else S for S in entropies]),
            "token": (("sequence", "distance"), tokens),
            "relevant": (("sequence", "distance"), np.asarray(task.relevant_tokens(examples))[:, ::-1]),
        },
        coords={"context_length": lengths, "distance": np.arange(1, L + 1)},
        attrs={
            "task": canonical_json(task),
            "name": type(task).__name__,
            "unit": task.unit,
            "risk_exponent": math.nan if task.risk_exponent is None else task.risk_exponent,
        },
    )


def shown_lengths(max_context_length: int, number: int) -> list[int]:
    """All context lengths; of very many, about ``number`` spread evenly in the logarithm, 0 and L among them."""
    if max_context_length <= _WIDEST:
        return list(range(max_context_length + 1))
    return [0, *np.unique(np.geomspace(1, max_context_length, number).round().astype(int)).tolist()]


def worked_example(task: Task, seed: Integer = 0, columns: int = 16) -> str:
    """One drawn sequence as text, and what is known of it at each context length.

    It shows the tokens by distance, which of them are relevant, and the question. For context lengths from 0 to L it
    gives the number of relevant tokens in sight, R(l), dim(l), S(P_l) and the answer of the Bayes predictor.

    Args:
        task: what is shown.
        seed: which sequence.
        columns: tokens in one line.
    """
    if task.every_position:
        raise ValueError(f"{type(task).__name__} shows what its bare task shows: ask for that")
    examples = jax.tree.map(lambda field: field[:1], _drawn(task, check_integer("seed", seed, 0, 2**31 - 1)))
    predict = jax.jit(task.bayes_prediction)
    L = task.max_context_length
    names = [_token(task, token) for token in np.asarray(examples.context)[0]]
    relevant = np.asarray(task.relevant_tokens(examples))[0]
    target = np.asarray(examples.target)[0]
    lines = [
        canonical_json(task),
        "",
        f"{type(task).__name__}: context of {L} tokens, loss in {task.unit}",
        "",
        *_tokens_by_distance(names, relevant, columns),
        "",
        f"question: {task.query_name(int(examples.query[0])) if task.n_queries > 1 else 'the only one'}",
        f"answer:   {_value(target)}",
        "",
        f"{'l':>6}  {'relevant':>8}  {'R(l)':>8}  {'dim(l)':>8}  {'S(P_l)':>8}  Bayes prediction",
    ]
    for length in _few_lengths(L):
        S = task.intrinsic_entropy(length)
        lines.append(
            f"{length:>6}  {int(relevant[L - length :].sum()):>8}  {task.bayes_risk(length):>8.4f}  "
            f"{task.intrinsic_dimension(length):>8.3f}  {'-' if S is None else f'{S:.4f}':>8}  "
            f"{_prediction(np.asarray(predict(examples, jnp.int32(length)), np.float64)[0], task.n_classes)}"
        )
    return "\n".join(lines)


def _few_lengths(max_context_length: int) -> list[int]:
    if max_context_length <= 16:
        return list(range(max_context_length + 1))
    return [0, *np.unique(np.geomspace(1, max_context_length, 13).round().astype(int)).tolist()]


def _tokens_by_distance(names: list[str], relevant: np.ndarray, columns: int) -> list[str]:
    """Lines of (distance, token, mark), oldest first; only the newest lines of a long context."""
    L = len(names)
    shown = min(L, 4 * columns)
    width = max(len(name) for name in names[L - shown :]) + 1
    width = max(width, len(str(shown)) + 1)
    lines = ["context, oldest first (^ bears on the answers):"]
    if shown < L:
        lines.append(f"  ... {L - shown} older tokens ...")
    for start in range(L - shown, L, columns):
        part = range(start, min(start + columns, L))
        lines += [
            "  distance " + "".join(f"{L - place:>{width}}" for place in part),
            "  token    " + "".join(f"{names[place]:>{width}}" for place in part),
            ("           " + "".join(f"{'^' if relevant[place] else '':>{width}}" for place in part)).rstrip(),
        ]
    return lines


def _token(task: Task, token: np.ndarray | np.generic) -> str:
    return _value(token) if task.vocabulary_size is None else task.token_name(int(token))


def _value(value: np.ndarray | np.generic) -> str:
    """A number, a vector, or a class."""
    if np.issubdtype(value.dtype, np.integer):
        return str(int(value))
    numbers = np.atleast_1d(value)
    return ",".join(f"{x:.2f}" for x in numbers[:4]) + (",..." if numbers.size > 4 else "")


def _prediction(prediction: np.ndarray | np.generic, n_classes: int | None) -> str:
    if n_classes is None:
        return _value(prediction)
    law = np.exp(prediction)
    best = np.argsort(-law, kind="stable")[:4]
    if law.max() - law.min() < 1e-6:
        return f"all {law.size} answers alike, {1 / law.size:.4f}"
    return "  ".join(f"P({y}) = {law[y]:.4f}" for y in best if law[y] > 0)


@functools.lru_cache(maxsize=4)
def _drawn(task: Task, seed: int) -> Examples:
    """The first samples of the seed's test stream."""
    return jax.jit(task.sample)(stream_key(seed, "test"), jnp.arange(_DRAWN))
