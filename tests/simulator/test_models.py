"""One battery over all models; adding a model to ``simulator.models.EXAMPLES`` tests it."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simulator.models import EXAMPLES, MLP, Mamba, RandomSubspace, SequenceModel, Transformer, TwoBranchMLP
from simulator.specification import canonical_json, from_json
from simulator.tasks import EXAMPLES as TASKS
from simulator.tasks import GaussianLookBack, SparseParity
from tests.simulator.products import products_of

KEY = jax.random.key(5)
PARITY, SERIES, LENGTH = TASKS[0], TASKS[2], 4
# One block shows what a mixer does; test_sequence_models has networks of several.
MODELS = [dataclasses.replace(model, depth=1) if isinstance(model, SequenceModel) else model for model in EXAMPLES]
KINDS = list({type(model): model for model in reversed(MODELS)}.values())[::-1]
CONNECTED = [model for model in EXAMPLES if isinstance(model, MLP | TwoBranchMLP)]
each_model = pytest.mark.parametrize("model", MODELS, ids=repr)
each_kind = pytest.mark.parametrize("model", KINDS, ids=repr)
each_case = pytest.mark.parametrize(
    ("model", "task"),
    [*((model, PARITY) for model in KINDS), *((model, SERIES) for model in (MODELS[0], MODELS[2], MODELS[5]))],
    ids=lambda x: repr(x)[:60],
)
each_connected = pytest.mark.parametrize(
    ("model", "task"),
    [(MODELS[0], PARITY), (MODELS[2], PARITY), (MODELS[0], SERIES)],
    ids=lambda x: repr(x)[:60],
)


@functools.partial(jax.jit, static_argnums=(0, 1))
def initial(model, task, key, length):
    return model.init(task, key, length)


@functools.partial(jax.jit, static_argnums=(0, 1))
def masked(model, task, parameters, examples, length):
    return model.apply(task, parameters, examples, length)


@functools.partial(jax.jit, static_argnums=(0, 1, 4))
def cut(model, task, parameters, examples, length):
    return model.apply(task, parameters, examples, length)


@functools.cache
def samples(task, seed=5):
    return jax.jit(lambda key: task.sample(key, range(256)))(jax.random.key(seed))


def shortened(task):
    """The same task with LENGTH tokens."""
    if isinstance(task, SparseParity):
        return SparseParity(task.pairs, LENGTH, task.frequencies)
    return GaussianLookBack(task.process, LENGTH, task.loss)


@each_case
def test_an_untrained_model_guesses(model, task):
    """Its loss is within 5 % of ln(classes), or of the mean square of a target of mean zero."""
    examples = samples(task)
    prediction = masked(model, task, initial(model, task, KEY, LENGTH), examples, LENGTH)
    assert prediction.shape == (256,) if task.n_classes is None else (256, task.n_classes)
    if task.n_classes is not None:
        np.testing.assert_allclose(np.exp(prediction).sum(axis=1), 1, rtol=1e-5)
    guess = np.mean(examples.target**2) if task.n_classes is None else np.log(task.n_classes)
    loss = task.pointwise_loss(prediction, examples, LENGTH).mean()
    assert float(loss) == pytest.approx(float(guess), rel=0.05)


@each_case
def test_hidden_tokens_change_no_bit_and_the_oldest_visible_one_does(model, task):
    parameters, examples = initial(model, task, KEY, LENGTH), samples(task)
    expected = masked(model, task, parameters, examples, LENGTH)
    for shown, same in ((0, True), (1, False)):
        here = jnp.arange(task.max_context_length) < task.max_context_length - LENGTH + shown
        context = jnp.where(here, samples(task, 6).context, examples.context)
        found = masked(model, task, parameters, examples._replace(context=context), LENGTH)
        assert np.array_equal(found, expected) == same


@each_connected
def test_a_masked_network_is_the_network_built_for_the_visible_tokens(model, task):
    """The same key makes a network of L tokens, of which l are seen, and one of l tokens: their predictions agree.

    A length that is known when compiling leaves out what the mask makes zero.
    """
    short, examples, L = shortened(task), samples(task), task.max_context_length
    parameters = initial(model, task, KEY, LENGTH)
    expected = masked(model, task, parameters, examples, LENGTH)
    visible = examples._replace(context=examples.context[:, L - LENGTH :])
    built = masked(model, short, initial(model, short, KEY, LENGTH), visible, LENGTH)
    for found in (built, cut(model, task, parameters, examples, LENGTH)):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    alone = [f(model, task, parameters, examples, 0) for f in (masked, cut)]
    np.testing.assert_allclose(*alone, rtol=1e-5, atol=1e-6)


@each_connected
def test_no_gradient_reaches_hidden_inputs(model, task):
    """The weights of hidden tokens have a gradient of zero, those of each visible one have not; all are finite."""
    parameters, examples = initial(model, task, KEY, LENGTH), samples(task)

    @jax.jit
    @jax.grad
    def gradient(trained):
        prediction = model.apply(task, trained, examples, LENGTH)
        return task.pointwise_loss(prediction, examples, LENGTH).mean()

    found = gradient(parameters)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))
    used = np.asarray(found.context_kernel[...]).any(axis=1)
    np.testing.assert_array_equal(used, np.arange(len(used), 0, -1) <= LENGTH)


@each_kind
def test_initial_parameters_are_a_function_of_the_key(model):
    a, b, c = (jax.tree.leaves(initial(model, PARITY, jax.random.key(k), LENGTH)) for k in (1, 1, 2))
    assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
    assert not all(np.array_equal(x, y) for x, y in zip(a, c, strict=True))


@each_connected
def test_weights_start_uniform_by_the_visible_inputs(model, task):
    """Up to 1/sqrt(fan-in), the fan-in of the first layer being the visible tokens and the question."""
    parameters = initial(model, task, KEY, LENGTH)
    inputs = LENGTH + (task.n_queries if isinstance(model, MLP) and task.n_queries > 1 else 0)
    for weights, fan_in in (
        (parameters.context_kernel, inputs),
        (parameters.query_kernel, inputs),
        (parameters.first_bias, inputs),
        *((k, k.shape[0]) for k in parameters.kernels.values()),
    ):
        if weights[...].size > 30:
            assert 0.85 < np.abs(weights[...]).max() * np.sqrt(fan_in) <= 1
    assert not np.allclose(parameters.kernels[0][...][:, :1], parameters.kernels[0][...][:, 1:2])


@each_model
def test_a_model_survives_json(model):
    assert from_json(canonical_json(model)) == model


def test_settings_that_are_not_given_have_these_values():
    """A change would change what users compute."""
    connected = '"hidden_sizes":[64,64],"negative_slopes":[],"type":"MLP"}'
    rope = '{"base":10000.0,"fraction":1.0,"type":"RoPE"}'
    for model, settings in (
        (MLP(), '{"bit_values":[-1.0,1.0],' + connected),
        (TwoBranchMLP(), '{"bit_values":[0.0,1.0],"context_width":400,"head_width":200,"n_features":80,'),
        (Transformer(), '{"depth":2,"feed_forward":null,"heads":4,"kv_heads":null,"log_length":false,'),
        (Transformer(), f'"positions":{rope},"type":"Transformer","width":64,"window":null}}'),
        (Mamba(), '{"convolution":4,"depth":2,"expand":2,"feed_forward":null,"state_numbers":16,'),
        (RandomSubspace(), '{"dimension":64,"layer_scales":false,"model":{"bit_values":[-1.0,1.0],' + connected),
        (RandomSubspace(), '"projection":"dense"'),
    ):
        assert settings in canonical_json(model)
    assert TwoBranchMLP().negative_slope == 0.001


@pytest.mark.parametrize("task", [PARITY, SERIES], ids=["bits and a question", "numbers"])
@pytest.mark.parametrize("length", [1, 5])
def test_flops_of_fully_connected_networks_are_those_of_their_programs(task, length):
    one = jax.tree.map(lambda a: a[:1], samples(task))
    for model in CONNECTED:
        shapes = jax.eval_shape(lambda model=model: model.init(task, KEY, length))
        counted = products_of(lambda p, model=model: model.apply(task, p, one, length), shapes)
        assert model.flops(task, length) == RandomSubspace(model, 20).flops(task, length) == counted
        assert model.state_size(length) == RandomSubspace(model, 20).state_size(length) == length


def test_features_of_two_branches_do_not_know_the_question():
    """The bottleneck is a linear layer on the context alone, and the layer after it sees the question too."""
    model, examples = TwoBranchMLP(16, 8, 16), samples(PARITY)
    other = examples._replace(query=(examples.query + 1) % PARITY.n_queries)
    parameters = initial(model, PARITY, KEY, 5)
    read = jax.jit(lambda examples: model.features(PARITY, parameters, examples, 5))
    features, others = read(examples), read(other)
    assert {name: f.shape[1] for name, f in features.items()} == {"layer 0": 16, "layer 1": 8, "layer 2": 16}
    np.testing.assert_array_equal(features["layer 1"], others["layer 1"])
    assert not np.allclose(features["layer 2"], others["layer 2"])
    first, bottleneck = (np.asarray(features[name]) for name in ("layer 0", "layer 1"))
    kernel, bias = parameters.kernels[0][...], parameters.biases[0][...]
    np.testing.assert_allclose(bottleneck, first @ np.asarray(kernel) + np.asarray(bias), rtol=1e-4, atol=1e-5)
    assert first.min() < 0
    assert first.min() > -0.01, "a slope of 0.001 below zero"


def test_features_of_a_fully_connected_network_are_those_of_the_formula():
    """Leaky ReLU of a layer on the visible bits as -1 and 1, zeros for hidden ones, and the one-hot question."""
    model, examples = MODELS[1], samples(PARITY)
    parameters = initial(model, PARITY, KEY, LENGTH)
    features = jax.jit(lambda: model.features(PARITY, parameters, examples, jnp.int32(LENGTH)))()
    bits = np.where(np.arange(16) >= 16 - LENGTH, 2.0 * np.asarray(examples.context) - 1, 0)
    inputs = np.concatenate([bits, np.eye(PARITY.n_queries)[np.asarray(examples.query)]], axis=1)
    kernels = [np.concatenate([parameters.context_kernel[...], parameters.query_kernel[...]])]
    kernels += [np.asarray(parameters.kernels[i][...]) for i in range(2)]
    biases = [parameters.first_bias[...], *(parameters.biases[i][...] for i in range(2))]
    for i, (kernel, bias, slope) in enumerate(zip(kernels, biases, (0.01, 1.0, 0.01), strict=True)):
        inputs = inputs @ kernel + np.asarray(bias)
        inputs = np.where(inputs > 0, inputs, slope * inputs)
        np.testing.assert_allclose(features[f"layer {i}"], inputs, rtol=1e-4, atol=1e-5)


def test_networks_of_the_paper_have_their_published_shapes():
    """l -> 400 -> 80, 80 + 50 -> 200 -> 1; and l + 50 -> 400 -> 200 (no activation) -> 400 -> 1, bits as 0 and 1."""
    task, model = SparseParity.paper_v1(), MLP.paper_v1()
    assert TwoBranchMLP().parameter_count(task) == 101 * 400 + 401 * 80 + 131 * 200 + 201
    assert model.parameter_count(task) == 151 * 400 + 401 * 200 + 201 * 400 + 401
    assert model.bit_values == (0.0, 1.0)
    assert model.negative_slopes == (0.0015, 1.0, 0.0015)
    assert model.keeps_a_core_busy
    assert not MLP(hidden_sizes=(255,)).keeps_a_core_busy
    assert model.activations(task, 5) == 400


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
