"""A task shown: text and table say what the task says."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simulator.random.streams import stream_key
from simulator.tasks import EXAMPLES, LagCopy, SparseParity
from simulator.tasks.worked_example import shown_lengths, truth_of_task, worked_example

SHOWN = [EXAMPLES[i] for i in (1, 6, 8, 12, 17, 25, 26)]


@pytest.mark.parametrize("task", SHOWN, ids=lambda task: type(task).__name__)
def test_the_text_says_what_the_task_says(task):
    """Symbols, numbers and vectors, one value and several, with and without entropy, queries and marks."""
    text = worked_example(task)
    spec = json.loads(text.splitlines()[0])
    assert spec["type"] == type(task).__name__
    rows = [line.split() for line in text[text.index("Bayes prediction") :].splitlines()[1:]]
    for length, relevant, risk, dimension, entropy, *prediction in rows:
        assert risk == f"{task.bayes_risk(int(length)):.4f}"
        assert dimension == f"{task.intrinsic_dimension(int(length)):.3f}"
        S = task.intrinsic_entropy(int(length))
        assert entropy == ("-" if S is None else f"{S:.4f}")
        assert 0 <= int(relevant) <= int(length)
        assert prediction
    assert [int(row[0]) for row in rows][:: len(rows) - 1] == [0, task.max_context_length]


def test_the_sequence_shown_is_one_of_the_test_stream():
    task = SparseParity(((2, 1), (4, 2)), 5)
    text = worked_example(task, seed=3)
    examples = jax.jit(task.sample)(stream_key(3, "test"), jnp.arange(12))
    shown = re.search(r"token +([01 ]+)\n(.*)\n", text)
    assert shown is not None
    assert [int(bit) for bit in shown.group(1).split()] == examples.context[0].tolist()
    assert shown.group(2).count("^") == 2
    assert f"answer:   {int(examples.target[0])}" in text
    asked = task.pairs[int(examples.query[0])]
    rows = text[text.index("Bayes prediction") :].splitlines()[1:]
    assert [int(row.split()[1]) for row in rows] == [sum(bit <= length for bit in asked) for length in range(6)]
    assert worked_example(task, seed=3) == text != worked_example(task, seed=4)


def test_a_long_context_shows_its_newest_tokens_and_a_few_lengths():
    task = LagCopy(3, 1.0, 0.1, 300)
    text = worked_example(task)
    assert "... 236 older tokens ..." in text
    assert "  distance  64 63 62" in text
    assert len(text.splitlines()) < 50


def test_the_table_holds_the_truth():
    task = EXAMPLES[17]
    truth = truth_of_task(task)
    assert truth["bayes_risk"].values.tolist() == [task.bayes_risk(length) for length in range(13)]
    assert truth["intrinsic_entropy"].values.tolist() == [task.intrinsic_entropy(length) for length in range(13)]
    assert truth.attrs["risk_exponent"] == 0.5
    examples = jax.jit(task.sample)(stream_key(0, "test"), jnp.arange(12))
    np.testing.assert_array_equal(truth["token"].values[:, ::-1], examples.context)
    assert np.isnan(truth_of_task(EXAMPLES[6])["intrinsic_entropy"]).all()


def test_many_lengths_are_thinned_evenly_in_the_logarithm():
    assert shown_lengths(400, 50) == list(range(401))
    lengths = shown_lengths(10_000, 50)
    assert lengths[:2] == [0, 1]
    assert lengths[-1] == 10_000
    assert len(lengths) < 52
