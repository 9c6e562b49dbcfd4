"""Names do not matter: permuting tokens, values, keys or tasks leaves R as it is and permutes Bayes predictions."""

import numpy as np
import pytest

from simulator.tasks import (
    AssociativeRecall,
    IrrelevantTokens,
    LagCopy,
    Retrieval,
    SantaFe,
    SparseParity,
    VariableTracking,
)
from tests.simulator.compiled import predict, sample

RNG = np.random.default_rng(4)


def symbols(task, examples):
    names = RNG.permutation(task.vocabulary_size)
    return examples._replace(context=names[examples.context]), names


def facts(task, examples):
    """The values of some facts are flipped; of their questions, the answers."""
    flipped = RNG.integers(0, 2, task.n_facts)
    context = examples.context ^ flipped[examples.context // 2].astype(np.int32)
    return examples._replace(context=context), flipped[examples.query]


def distractors(task, examples):
    names = np.append(RNG.permutation(task.n_distractors), range(task.n_distractors, task.vocabulary_size))
    return examples._replace(context=names[examples.context]), np.arange(task.n_classes)


def keys_and_values(task, examples):
    keys, values = RNG.permutation(task.n_keys), RNG.permutation(task.n_values)
    tokens = np.append(keys, task.n_keys + values)
    return examples._replace(context=tokens[examples.context], query=keys[examples.query]), values


def variables_and_values(task, examples):
    L, m = task.max_context_length, task.n_values
    names, values = RNG.permutation(L), RNG.permutation(m)
    right = np.append(values, m + names)
    tokens = np.array([names[token // (m + L)] * (m + L) + right[token % (m + L)] for token in range(L * (m + L))])
    return examples._replace(context=tokens[examples.context], query=names[examples.query]), values


def marked_symbols(task, examples):
    v = task.task.vocabulary_size
    names = RNG.permutation(v)
    return examples._replace(context=np.append(names, v + names)[examples.context]), names


CASES = [
    (LagCopy(4, 0.9, 0.3, 8), symbols),
    (SantaFe(6, 0.6, 10), facts),
    (Retrieval(2, 3, 8), distractors),
    (AssociativeRecall(4, 6, 3, 0.7), keys_and_values),
    (VariableTracking(3, 2, 4), variables_and_values),
    (IrrelevantTokens(LagCopy(3, 0.9, 0.3, 5), 0.5, "distractor", relevance="visible"), marked_symbols),
]


@pytest.mark.parametrize(("task", "relabel"), CASES, ids=lambda x: getattr(x, "__name__", type(x).__name__))
def test_bayes_predictions_follow_their_names(task, relabel):
    examples = sample(task)
    renamed, classes = relabel(task, examples)
    renamed = renamed._replace(context=renamed.context.astype(np.int32), query=renamed.query.astype(np.int32))
    assert not np.array_equal(renamed.context, examples.context)
    for length in (1, task.max_context_length // 2, task.max_context_length):
        before, after = (predict(task, x, length) for x in (examples, renamed))
        if relabel is facts:
            expected = np.where(classes[:, None] == 1, before[:, ::-1], before)
        else:
            expected = np.empty_like(before)
            expected[:, classes] = before
        np.testing.assert_allclose(after, expected, atol=1e-6)


def test_the_order_of_the_tasks_does_not_matter():
    pairs, frequencies = ((2, 1), (3, 1), (5, 4), (9, 1)), (0.4, 0.3, 0.2, 0.1)
    order = (2, 0, 3, 1)
    task = SparseParity(pairs, 8, frequencies)
    other = SparseParity([pairs[k] for k in order], 8, [frequencies[k] for k in order])
    for length in range(9):
        assert other.bayes_risk(length) == pytest.approx(task.bayes_risk(length), abs=1e-15)
        assert other.intrinsic_dimension(length) == task.intrinsic_dimension(length)
        assert other.intrinsic_entropy(length) == task.intrinsic_entropy(length)
