"""Brute force: a task's generative story told choice by choice, and every way it can go, with its probability.

A story is a function ``story(task, choose) -> (context, query, target)`` in plain Python that makes each random choice
by calling ``choose(probabilities)``, which returns an index. It shares no code with the task.
"""

import collections
import math

import numpy as np
import pytest

from simulator.tasks import Examples
from tests.simulator.compiled import BATCH, predict, sample


def outcomes(story, task, most=300_000):
    """All (context, query, target) of a story, as a dict to their probabilities."""
    table = collections.defaultdict(float)
    path: list[list] = []  # (index taken, probabilities) of each choice made so far
    for _ in range(most):
        depth, weight = 0, 1.0

        def choose(probabilities):
            nonlocal depth, weight
            if depth == len(path):
                first = next(i for i, p in enumerate(probabilities) if p > 0)
                path.append([first, list(probabilities)])
            index, stored = path[depth]
            depth += 1
            weight *= stored[index]
            return index

        context, query, target = story(task, choose)
        table[tuple(int(t) for t in context), int(query), int(target)] += weight
        while path:
            index, probabilities = path[-1]
            following = next((i for i in range(index + 1, len(probabilities)) if probabilities[i] > 0), None)
            if following is not None:
                path[-1][0] = following
                break
            path.pop()
        if not path:
            assert math.isclose(sum(table.values()), 1, abs_tol=1e-9)
            return table
    raise AssertionError(f"more than {most} outcomes: draw a smaller task")


def conditionals(table, task, length):
    """{(visible context, query): unnormalised law of the target}."""
    laws = collections.defaultdict(lambda: np.zeros(task.n_classes))
    for (context, query, target), weight in table.items():
        laws[context[len(context) - length :], query][target] += weight
    return laws


def risk(table, task, length):
    """R(l), by definition: the entropy of the target given what is visible."""
    total = 0.0
    for law in conditionals(table, task, length).values():
        law = law[law > 0]
        total -= math.fsum(law * np.log(law / law.sum()))
    return total


def assert_risks(task, table):
    """R(l) at every length, to 1e-10."""
    for length in range(task.max_context_length + 1):
        assert task.bayes_risk(length) == pytest.approx(risk(table, task, length), abs=1e-10), length


def assert_predictions(task, table):
    """Bayes predictions, to float32 rounding."""
    L = task.max_context_length
    some = sorted({(c, q) for c, q, _ in table})
    some = [some[i] for i in np.random.default_rng(0).permutation(len(some))[:256]]
    context, query = (np.array(column, np.int32) for column in zip(*some, strict=True))
    examples = Examples(context, query, np.zeros_like(query))
    for length in sorted({0, 1, L // 2, L - 1, L}):
        laws = conditionals(table, task, length)
        expected = np.array([laws[c[L - length :], q] for c, q in some])
        predicted = np.exp(predict(task, examples, length), dtype=float)
        np.testing.assert_allclose(predicted, expected / expected.sum(axis=1, keepdims=True), atol=3e-6)


def assert_frequencies(task, table, n=12 * BATCH):
    """Tokens, pairs, queries and answers of samples are as frequent as they should be, within 5 standard errors."""
    context, query, target = sample(task, n, seed=5)
    L = task.max_context_length
    features = {
        "newest token": (lambda c, q, y: c[L - 1], context[:, L - 1]),
        "oldest token": (lambda c, q, y: c[0], context[:, 0]),
        "token in the middle, and the next": (
            lambda c, q, y: c[L // 2 - 1] * 10**6 + c[L // 2],
            context[:, L // 2 - 1].astype(np.int64) * 10**6 + context[:, L // 2],
        ),
        "newest token and answer": (
            lambda c, q, y: c[L - 1] * 10**6 + y,
            context[:, L - 1].astype(np.int64) * 10**6 + target,
        ),
        "query and answer": (lambda c, q, y: q * 10**6 + y, query.astype(np.int64) * 10**6 + target),
    }
    for name, (feature, drawn) in features.items():
        exact = collections.defaultdict(float)
        for (c, q, y), weight in table.items():
            exact[feature(c, q, y)] += weight
        counts = collections.Counter(drawn.tolist())
        assert set(counts) <= set(exact), f"{name}: impossible values {set(counts) - set(exact)}"
        for value, probability in exact.items():
            error = math.sqrt(max(probability * (1 - probability), 1e-12) / n)
            assert abs(counts[value] / n - probability) < 5 * error + 5 / n, (name, value, probability)
