"""What the sequence models share: how tokens enter, blocks, what is read off the last token, and formulas of size."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from simulator.models import (
    EXAMPLES,
    LearnedPositions,
    LinearAttention,
    MinGRU,
    RetNet,
    RoPE,
    SequenceModel,
    Transformer,
    scans,
)
from simulator.tasks import GaussianLookBack, LagCopy, Retrieval
from tests.simulator.parameters import drawn_for
from tests.simulator.products import products_of
from tests.simulator.test_mixers import FORMULAS

KEY = jax.random.key(3)
MODELS = [model for model in EXAMPLES if isinstance(model, SequenceModel)]
COPY, NEEDLE = LagCopy(3, 1.0, 0.3, 9), Retrieval(1, 3, 9, n_distractors=3)
SERIES = GaussianLookBack.arfima(0.3, 9)
each_model = pytest.mark.parametrize("model", MODELS, ids=repr)
TRANSFORMER, MINGRU = Transformer(width=16, heads=2, positions=LearnedPositions(10)), MinGRU(width=16)
# A start token, a question at the end, and real tokens; with learned positions, a state, and neither.
each_network = pytest.mark.parametrize(
    ("model", "task"),
    [
        (TRANSFORMER, COPY),
        (MINGRU, NEEDLE),
        (Transformer(depth=1, width=16, heads=2), SERIES),
    ],
    ids=["start", "question", "numbers"],
)
LENGTH, L, B = 4, 9, 4


@functools.cache
def network(model, task):
    """A network with random parameters."""
    return model.merged(task, drawn_for(model, task))


@functools.cache
def sampled(task, seed=3):
    return jax.jit(lambda key: task.sample(key, range(B)))(jax.random.key(seed))


@functools.cache
def all_at_once(model, task):
    """Embedded samples, and positions; and programs that embed, and that read off each token, with the gradient of
    what is read off one."""
    net = network(model, task)
    embed = jax.jit(lambda examples: net.embedded(examples, L, "float32"))
    x, positions = embed(sampled(task))

    def early(x):
        outputs = net.advance(x, positions, [None] * model.depth, "float32")[0]
        return outputs[:, 5].sum(), outputs

    return x, positions, embed, jax.jit(jax.grad(early, has_aux=True))


@functools.cache
def answers(model, task, known):
    """What is predicted, and features, with LENGTH tokens in sight; known when compiling or not."""
    net = network(model, task)

    def look(examples, length):
        length = LENGTH if known else length
        return net(examples, length, "float32"), net.features(examples, length, "float32")

    return jax.jit(look)(sampled(task), jnp.int32(LENGTH))


@each_network
def test_no_token_sees_a_later_one(model, task):
    """The gradient of early outputs with respect to later tokens is exactly zero; others are not."""
    x, _, _, look = all_at_once(model, task)
    reached = np.asarray(look(x)[0]).any(axis=(0, 2))
    np.testing.assert_array_equal(reached, np.arange(L + 1) <= 5)


@each_network
def test_the_recurrence_gives_what_all_tokens_at_once_give(model, task):
    x, positions, _, look = all_at_once(model, task)
    outputs, x, positions = look(x)[1], np.asarray(x), np.asarray(positions)
    state = jax.jit(lambda: network(model, task).initial_state(B, L + 1))()
    step = jax.jit(lambda *arguments: network(model, task).step(*arguments, "float32"))
    for t in range(L + 1):
        output, state = step(x[:, t], positions[t], state)
        np.testing.assert_allclose(output, np.asarray(outputs)[:, t], rtol=1e-5, atol=1e-5)


@each_network
def test_the_prediction_is_read_off_the_last_token_of_what_is_in_sight(model, task):
    """Hidden tokens are masked or left out, and the last block computes only the last token: nothing else changes.

    The last state of a text is that of its prefix: where a task has a start token, positions count from it.
    """
    net, (known, features) = network(model, task), answers(model, task, True)
    traced, masked_features = answers(model, task, False)
    np.testing.assert_allclose(traced, known, rtol=1e-5, atol=1e-5)
    assert set(features) == {"embedding", *(f"block {i}" for i in range(model.depth)), "readout"}
    for name, values in features.items():
        assert values.shape == (B, model.width)
        np.testing.assert_allclose(masked_features[name], values, rtol=1e-4, atol=1e-5)
    read = jax.jit(lambda last: net.readout(last, "float32"))(features["readout"])
    np.testing.assert_allclose(read, known, rtol=1e-5, atol=1e-5)
    # A text whose first tokens are the visible ones.
    moved = sampled(task)._replace(context=jnp.roll(sampled(task).context, LENGTH, axis=1))
    _, _, embed, look = all_at_once(model, task)
    x = np.array(embed(moved)[0])
    if net.asks_last:
        x[:, LENGTH] = x[:, -1]
    np.testing.assert_allclose(look(x)[1][:, LENGTH], known, rtol=1e-5, atol=1e-5)


def test_features_pass_through_the_blocks():
    """x + mixer(norm(x)), then x + W_2 gelu(W_1 norm(x)), and a last norm: x / sqrt(mean(x^2) + 1e-6)."""
    model, task = MINGRU, NEEDLE
    net, (_, features) = network(model, task), answers(model, task, True)

    def norm(layer, x):
        return x / np.sqrt(np.mean(np.square(x), axis=-1, keepdims=True) + 1e-6) * np.asarray(layer.gain[...])

    x = np.asarray(jax.jit(lambda e: net.embedded(e, LENGTH, "float32")[0])(sampled(task)), np.float64)
    np.testing.assert_allclose(features["embedding"], x[:, -1], rtol=1e-5)
    for i, block in enumerate(net.blocks):
        mix = jax.jit(lambda x, of=block.mixer: of(x, jnp.arange(LENGTH + 1), None, "float32", False)[0])
        x = x + np.asarray(mix(norm(block.mixer_norm, x).astype(np.float32)))
        hidden = norm(block.feed_forward_norm, x) @ np.asarray(block.feed_forward.first.kernel[...])
        gelu = hidden / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (hidden + 0.044715 * hidden**3)))
        x = x + gelu @ np.asarray(block.feed_forward.second.kernel[...])
        np.testing.assert_allclose(features[f"block {i}"], x[:, -1], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(features["readout"], norm(net.norm, x)[:, -1], rtol=1e-4, atol=1e-5)


def test_parameters_start_with_the_variance_of_their_place():
    """Embeddings have variance 1. What joins the residual stream is divided by sqrt(2 depth), the readout by E."""
    net = TRANSFORMER.merged(COPY, jax.jit(lambda: TRANSFORMER.init(COPY, KEY, L))())
    block = net.blocks[1]
    for weights, variance in (
        (net.tokens, 1),
        (net.queries, 1),
        (net.positions, 1),
        (block.mixer.query.kernel, 1 / 16),
        (block.mixer.output.kernel, 1 / 16 / 4),
        (block.feed_forward.first.kernel, 1 / 16),
        (block.feed_forward.second.kernel, 1 / 64 / 4),
        (net.readout.kernel, 1 / 16**3),
    ):
        assert 0.8 < np.abs(weights[...]).max() / np.sqrt(3 * variance) <= 1
    assert np.all(net.norm.gain[...] == 1)


@each_model
def test_parameters_flops_and_state_have_the_sizes_of_their_formulas(model):
    """FLOPs are the products in the program of one sample: over all tokens for attention, of one step a token for
    recurrences. The readout is needed once."""
    one = jnp.zeros((1, L), jnp.int32)
    for task in (COPY, SERIES):
        graph, shapes = nnx.eval_shape(lambda task=task: nnx.split(model.network(task, KEY, 1)))
        leaves = jax.tree.leaves(shapes)
        assert model.parameter_count(task) == sum(leaf.size for leaf in leaves)
        assert all(leaf.dtype == jnp.float32 for leaf in leaves)
        examples = sampled(task)._replace(context=one.astype(sampled(task).context.dtype), query=one[0, :1])
        outputs = 2 * model.width * (task.n_classes or 1)

        def embedded(parameters, graph=graph, examples=examples):
            return nnx.merge(graph, parameters).embedded(examples, L, "float32")

        def whole(parameters, graph=graph, embedded=embedded):
            x, positions = embedded(parameters)
            return nnx.merge(graph, parameters).advance(x, positions, [None] * model.depth, "float32")

        def step(parameters, graph=graph):
            net = nnx.merge(graph, parameters)
            return net.step(jnp.ones((1, model.width)), jnp.int32(0), net.initial_state(1, L + 1), "float32")

        if isinstance(model, Transformer):
            counted = products_of(whole, shapes) - L * outputs
        else:
            counted = (L + 1) * (products_of(step, shapes) - outputs) + outputs + products_of(embedded, shapes)
        assert model.flops(task, L) == counted
    for length in (0, 3, 9):
        states = jax.eval_shape(lambda p, n=length: nnx.merge(graph, p).initial_state(2, n + 1), shapes)
        numbers = [leaf for leaf in jax.tree.leaves(states) if leaf.dtype == jnp.float32]
        assert 2 * model.state_size(length) == sum(leaf.size for leaf in numbers)


@pytest.mark.parametrize(("T", "last"), [(5, False), (130, False), (130, True)])
def test_chunked_attention_is_the_recurrence(T, last, rng):
    """S_t = gamma S_{t-1} + k_t v_t^T in float64, from a state that is not zero, within a chunk and beyond."""
    q, k, v = (rng.normal(size=(2, T, 3, 4)) for _ in range(3))
    state, decay = rng.normal(size=(2, 3, 4, 4)), np.array([1.0, 0.97, 0.9])
    outputs, after = jax.jit(scans.decayed_attention, static_argnums=5)(
        *(jnp.asarray(a, jnp.float32) for a in (q[:, -1:] if last else q, k, v, decay, state)), last
    )
    expected = []
    for t in range(T):
        state = decay[:, None, None] * state + k[:, t, :, :, None] * v[:, t, :, None, :]
        expected.append(np.einsum("bhk,bhkv->bhv", q[:, t], state))
    expected = np.stack(expected, axis=1)[:, -1:] if last else np.stack(expected, axis=1)
    np.testing.assert_allclose(outputs, expected, rtol=2e-4, atol=2e-4)
    np.testing.assert_allclose(after, state, rtol=2e-4, atol=2e-4)


def test_the_paper_s_transformer_has_its_published_shape():
    """3 layers, width 208, feed-forward 832, base 4000; 60 bits of two values and a question of one in a hundred."""
    model = Transformer.paper_v4()
    assert (model.depth, model.width, model.hidden_width, model.positions) == (3, 208, 832, RoPE(base=4000.0))
    assert model.mixer_parameters() == 4 * 208**2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Transformer(width=30, heads=4), "width must be a multiple of heads; got width 30 and 4 heads"),
        (lambda: Transformer(width=20, heads=4), "even width; got 5"),
        (lambda: Transformer(heads=4, kv_heads=3), "heads must be a multiple of kv_heads; got 4 and 3"),
        (lambda: LinearAttention(width=30, heads=4), "multiple of heads"),
        (lambda: RetNet(width=20, heads=4), "even width; got 5"),
    ],
)
def test_impossible_models_are_refused(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


def test_a_context_longer_than_learned_positions_is_refused_with_both_names():
    model = Transformer(positions=LearnedPositions(9))
    with pytest.raises(ValueError, match="Transformer has 9 learned positions; LagCopy needs 10"):
        model.init(COPY, KEY, 9)
    Transformer(positions=LearnedPositions(10)).check_task(COPY)


def test_no_model_is_left_out():
    """The formulas of mixers are tested kind by kind."""
    assert {type(model) for model in MODELS} == set(FORMULAS)
