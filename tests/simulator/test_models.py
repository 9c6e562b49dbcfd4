"""One battery over all models and tasks; adding a model to ``simulator.models.EXAMPLES`` tests it."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simulator.models import EXAMPLES, MLP, Transformer, TwoBranchMLP
from simulator.specification import canonical_json, from_json
from simulator.tasks import EXAMPLES as TASKS
from simulator.tasks import GaussianLookBack, SparseParity
from tests.simulator.products import products_of

KEY = jax.random.key(5)
each_model = pytest.mark.parametrize("model", EXAMPLES, ids=repr)
# How tokens of a kind enter is one code for all models of a family.
SERIES = [model for model in EXAMPLES if isinstance(model, MLP | TwoBranchMLP)] + [Transformer(width=16, heads=2)]
each_case = pytest.mark.parametrize(
    ("model", "task"),
    [*((model, TASKS[0]) for model in EXAMPLES), *((model, TASKS[2]) for model in SERIES)],
    ids=lambda x: repr(x)[:60],
)


@functools.partial(jax.jit, static_argnums=(0, 1))
def initial(model, task, key, length):
    return model.init(task, key, length)


@functools.partial(jax.jit, static_argnums=(0, 1))
def apply(model, task, parameters, examples, length):
    return model.apply(task, parameters, examples, length)


@each_case
def test_predictions_have_the_form_of_the_bayes_prediction(model, task):
    examples = task.sample(KEY, range(8))
    prediction = apply(model, task, initial(model, task, KEY, 4), examples, 4)
    assert prediction.shape == task.bayes_prediction(examples, 4).shape
    if task.n_classes is not None:
        np.testing.assert_allclose(np.exp(prediction).sum(axis=1), 1, rtol=1e-5)


@each_case
def test_what_is_out_of_sight_changes_nothing_and_has_zero_gradient(model, task):
    """Two criteria for a mask: replacing hidden tokens leaves the output bit-equal; no gradient reaches them."""
    length, L = 4, task.max_context_length
    parameters = initial(model, task, KEY, length)
    examples = task.sample(KEY, range(8))
    other = task.sample(jax.random.key(6), range(8)).context[:, : L - length]
    changed = examples._replace(context=jnp.concatenate([other, examples.context[:, L - length :]], axis=1))
    np.testing.assert_array_equal(
        apply(model, task, parameters, changed, length), apply(model, task, parameters, examples, length)
    )
    if task.n_classes is None:

        def total(context):
            return apply(model, task, parameters, examples._replace(context=context), length).sum()

        gradient = np.asarray(jax.grad(total)(examples.context))
        assert not gradient[:, : L - length].any()
        assert np.all(gradient[:, L - length :].any(axis=0))


@each_case
def test_a_masked_network_is_the_network_built_for_the_visible_tokens(model, task):
    """Same key, L tokens of which l are seen, or l tokens alone: the visible weights and so the outputs agree.

    It holds because each distance has a key of its own, and the scale follows the visible fan-in.
    """
    length, L = 5, task.max_context_length
    short = shortened(task, length)
    examples = task.sample(KEY, range(8))
    visible = examples._replace(context=examples.context[:, L - length :])
    masked = apply(model, task, initial(model, task, KEY, length), examples, length)
    truncated = apply(model, short, initial(model, short, KEY, length), visible, length)
    np.testing.assert_allclose(masked, truncated, rtol=1e-5, atol=1e-6)


def shortened(task, length):
    """The same task with a shorter L."""
    if isinstance(task, SparseParity):
        return SparseParity(task.pairs, length, task.frequencies)
    return GaussianLookBack(task.process, length, task.loss)


@each_case
def test_initial_parameters_are_a_function_of_the_key_and_gradients_are_finite(model, task):
    a, b, c = (jax.tree.leaves(initial(model, task, jax.random.key(k), 3)) for k in (1, 1, 2))
    assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
    assert not all(np.array_equal(x, y) for x, y in zip(a, c, strict=True))
    examples = task.sample(KEY, range(32))

    parameters = initial(model, task, KEY, 3)

    def loss(trained):
        predictions = apply(model, task, model.with_trained(parameters, trained), examples, 3)
        return task.pointwise_loss(predictions, examples, 3).mean()

    value, gradient = jax.jit(jax.value_and_grad(loss))(model.trained(parameters))
    assert np.isfinite(value)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


@each_model
def test_the_initial_loss_is_near_that_of_a_coin(model):
    task = TASKS[0]
    examples = task.sample(KEY, range(4096))
    loss = task.pointwise_loss(apply(model, task, initial(model, task, KEY, 8), examples, 8), examples, 8).mean()
    assert float(loss) == pytest.approx(np.log(2), rel=0.05)


@each_model
def test_a_model_survives_json(model):
    assert from_json(canonical_json(model)) == model


def test_the_parameter_count_is_the_formula():
    task = TASKS[0]
    sizes = (task.max_context_length + task.n_queries, 16, 16, 1)
    expected = sum((a + 1) * b for a, b in itertools.pairwise(sizes))
    assert MLP(hidden_sizes=(16, 16)).parameter_count(task) == expected


@pytest.mark.parametrize("model", [m for m in EXAMPLES if isinstance(m, MLP | TwoBranchMLP)], ids=repr)
@pytest.mark.parametrize("task", [TASKS[0], TASKS[2]], ids=["bits and a question", "numbers"])
@pytest.mark.parametrize("length", [1, 5])
def test_flops_of_fully_connected_networks_are_those_of_their_programs(model, task, length):
    parameters, examples = initial(model, task, KEY, length), task.sample(KEY, range(1))
    counted = products_of(lambda p: model.apply(task, p, examples, length), parameters)
    assert model.flops(task, length) == counted


def test_features_of_two_branches_do_not_know_the_question():
    """The bottleneck is made of the context alone; what comes after it is not."""
    task, model = TASKS[0], TwoBranchMLP(16, 8, 16)
    parameters, examples = initial(model, task, KEY, 5), task.sample(KEY, range(8))
    other = examples._replace(query=(examples.query + 1) % task.n_queries)
    features, others = (model.features(task, parameters, e, 5) for e in (examples, other))
    assert {name: f.shape[1] for name, f in features.items()} == {"layer 0": 16, "layer 1": 8, "layer 2": 16}
    np.testing.assert_array_equal(features["layer 1"], others["layer 1"])
    assert not np.allclose(features["layer 2"], others["layer 2"])
    assert (features["layer 1"] < 0).any(), "the bottleneck is linear"


def test_the_paper_s_two_branches_have_their_published_shape():
    """l -> 400 -> 80; 80 + 50 -> 200 -> 1."""
    assert TwoBranchMLP().parameter_count(SparseParity.paper_v1()) == 101 * 400 + 401 * 80 + 131 * 200 + 201


def test_the_paper_s_network_has_its_published_shape():
    """l + 50 -> 400 -> 200 (no activation) -> 400 -> 1, bits as 0 and 1."""
    model, task = MLP.paper_v1(), SparseParity.paper_v1()
    assert model.parameter_count(task) == 151 * 400 + 401 * 200 + 201 * 400 + 401
    assert model.bit_values == (0.0, 1.0)
    assert model.negative_slopes == (0.0015, 1.0, 0.0015)


def test_lists_and_tuples_make_the_same_model():
    assert MLP(hidden_sizes=[8, 8]) == MLP(hidden_sizes=(8, 8))
    assert hash(MLP(hidden_sizes=[8, 8])) == hash(MLP(hidden_sizes=(8, 8)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hidden_sizes": (8, 0)}, "a hidden size must be at least 1; got 0"),
        ({"hidden_sizes": (8, 8), "negative_slopes": (0.1,)}, "2 hidden layers need as many negative_slopes"),
        ({"negative_slopes": (-1.0, 0.0)}, "a negative slope must be a finite number, 0 or above; got -1.0"),
        ({"bit_values": (1.0, 1.0)}, "two different numbers"),
    ],
)
def test_an_impossible_network_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        MLP(**arguments)
