"""One battery over the sequence models: what a token may see, and that the parallel form is the recurrence."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from simulator.models import (
    EXAMPLES,
    GRU,
    LSTM,
    RWKV4,
    LearnedPositions,
    LinearAttention,
    Mamba,
    MinGRU,
    NoPositions,
    RetNet,
    RoPE,
    SequenceModel,
    Transformer,
    scans,
)
from simulator.tasks import GaussianLookBack, LagCopy, Retrieval
from tests.simulator.products import products_of

KEY = jax.random.key(3)
MODELS = [model for model in EXAMPLES if isinstance(model, SequenceModel)]
COPY, NEEDLE = LagCopy(3, 1.0, 0.3, 9), Retrieval(1, 3, 9, n_distractors=3)
SERIES = GaussianLookBack.arfima(0.3, 9)
each_model = pytest.mark.parametrize("model", MODELS, ids=repr)
# What a task asks, and of what its tokens are, is one code for all models.
each_case = pytest.mark.parametrize(
    ("model", "task"),
    [*((model, COPY) for model in MODELS), (MODELS[0], NEEDLE), (MODELS[0], SERIES)],
    ids=lambda x: repr(x)[:60],
)


@functools.lru_cache
def network(model, task):
    return model.merged(task, initial(model, task, KEY))


@functools.partial(jax.jit, static_argnums=(0, 1))
def initial(model, task, key):
    return model.init(task, key, task.max_context_length)


@functools.lru_cache
def compiled(model, task, method):
    """A method of the network: called operation by operation it would compile each of them."""
    return jax.jit(lambda *arguments: getattr(network(model, task), method)(*arguments, "float32"))


@functools.partial(jax.jit, static_argnums=(0, 1, 5))
def predicted(model, task, parameters, examples, length, precision="float32"):
    return model.apply(task, parameters, examples, length, precision)


def embedded(model, task, length, batch=4):
    if isinstance(length, int):
        return network(model, task).embedded(sampled(task, batch), length, "float32")
    return compiled(model, task, "embedded")(sampled(task, batch), length)


@functools.lru_cache
def sampled(task, batch, seed=3):
    return jax.jit(lambda key: task.sample(key, range(batch)))(jax.random.key(seed))


@each_case
def test_no_token_sees_a_later_one(model, task):
    """Outputs up to token t are the same to the bit whatever comes after it, and their gradient with respect to what
    comes after is exactly zero: were a single path open, for random weights it would be neither."""
    x, positions = embedded(model, task, task.max_context_length)
    other = x.at[:, 6:].set(jax.random.normal(KEY, x[:, 6:].shape))

    def early(x):
        outputs, _ = network(model, task).advance(x, positions, [None] * model.depth, "float32")
        return outputs[:, 5].sum(), outputs[:, :6]

    look = jax.jit(jax.grad(early, has_aux=True))
    gradient, outputs = look(x)
    np.testing.assert_array_equal(look(other)[1], outputs)
    gradient = np.asarray(gradient)
    assert not gradient[:, 6:].any()
    assert gradient[:, 5].any()


@each_model
@pytest.mark.parametrize("length", [0, 1, 6])
def test_tokens_out_of_sight_change_nothing_in_a_form_with_a_state_either(model, length):
    """A mask and a shorter input are the same thing, and a state that has seen hidden tokens is the initial one."""
    (masked, positions), (cut, few) = (embedded(model, COPY, n) for n in (jnp.int32(length), length))
    state, advance = network(model, COPY).initial_state(4, 10), compiled(model, COPY, "advance")
    outputs, after = advance(masked, positions, state)
    expected, after_cut = advance(cut, few, state)
    np.testing.assert_allclose(outputs[:, -1 - length :], expected, atol=2e-5)
    for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(after_cut), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


@each_case
def test_the_recurrence_gives_what_all_tokens_at_once_give(model, task):
    x, positions = embedded(model, task, task.max_context_length)
    at_once = compiled(model, task, "advance")(x, positions, [None] * model.depth)[0]
    state, step = network(model, task).initial_state(4, x.shape[1]), compiled(model, task, "step")
    for t in range(x.shape[1]):
        output, state = step(x[:, t], positions[t], state)
        np.testing.assert_allclose(output, at_once[:, t], rtol=1e-5, atol=1e-5)


@each_model
@pytest.mark.parametrize("cut", [1, 6])
def test_two_chunks_with_the_state_between_them_are_one_pass(model, cut):
    x, positions = embedded(model, COPY, COPY.max_context_length)
    state, advance = network(model, COPY).initial_state(4, x.shape[1]), compiled(model, COPY, "advance")
    whole, _ = advance(x, positions, state)
    first, state = advance(x[:, :cut], positions[:cut], state)
    second, _ = advance(x[:, cut:], positions[cut:], state)
    np.testing.assert_allclose(jnp.concatenate([first, second], axis=1), whole, rtol=1e-5, atol=1e-5)


@each_case
def test_the_prediction_is_read_off_the_last_token(model, task):
    """Leaving the other tokens out of the last block changes nothing."""
    for length in (4, task.max_context_length):
        x, positions = embedded(model, task, length)
        last = compiled(model, task, "advance")(x, positions, [None] * model.depth)[0][:, -1]
        outputs = compiled(model, task, "__call__")(sampled(task, 4), length)
        np.testing.assert_allclose(outputs, last, rtol=1e-5, atol=1e-5)


@each_case
def test_parameters_are_counted_by_the_formula(model, task):
    leaves = jax.tree.leaves(initial(model, task, KEY))
    assert model.parameter_count(task) == sum(leaf.size for leaf in leaves)
    assert all(leaf.dtype == jnp.float32 for leaf in leaves)


@each_model
@pytest.mark.parametrize("length", [0, 3, 9])
def test_the_state_has_the_size_of_the_formula(model, length):
    state = network(model, COPY).initial_state(2, length + 1)
    numbers = [leaf for leaf in jax.tree.leaves(state) if leaf.dtype == jnp.float32]
    assert 2 * model.state_size(length) == sum(leaf.size for leaf in numbers)


@each_model
@pytest.mark.parametrize("task", [COPY, SERIES], ids=["tokens", "numbers"])
def test_flops_are_counted_by_the_formula(model, task):
    """The products in the program of one sample: over all tokens for attention, of one step a token for recurrences;
    the readout is needed once."""
    net, length = network(model, task), task.max_context_length
    x, positions = embedded(model, task, length, batch=1)
    outputs = 2 * model.width * (net.readout.kernel[...].shape[1])
    reading = 0 if task.vocabulary_size else 2 * length * task.n_channels * model.width
    if isinstance(model, Transformer):
        counted = products_of(lambda x: net.advance(x, positions, [None] * model.depth, "float32"), x)
        counted -= length * outputs
    else:
        state = net.initial_state(1, length + 1)
        counted = products_of(lambda x: net.step(x, positions[0], state, "float32"), x[:, 0]) - outputs
        counted = (length + 1) * counted + outputs
    assert model.flops(task, length) == counted + reading


@each_case
def test_initial_loss_is_that_of_a_guess(model, task):
    """Within 5 % of ln(classes), or of the mean square of a target of mean zero."""
    examples, length = sampled(task, 512), task.max_context_length
    loss = task.pointwise_loss(predicted(model, task, initial(model, task, KEY), examples, length), examples, length)
    guess = np.mean(examples.target**2) if task.n_classes is None else np.log(task.n_classes)
    assert float(loss.mean()) == pytest.approx(float(guess), rel=0.05)


@each_model
def test_a_second_call_compiles_nothing(model):
    @jax.jit
    def predict(parameters, examples, length):
        return model.apply(COPY, parameters, examples, length)

    for seed, length in ((0, 3), (1, 9)):
        predict(model.init(COPY, jax.random.key(seed), length), sampled(COPY, 4, seed), jnp.int32(length))
    assert predict._cache_size() == 1


@each_model
def test_mixed_precision_moves_predictions_by_the_digits_of_its_factors_only(model):
    full, mixed = (
        predicted(model, COPY, initial(model, COPY, KEY), sampled(COPY, 64), 9, p) for p in ("float32", "mixed")
    )
    assert 0 < np.abs(full - mixed).max() < 0.05


@each_model
def test_features_are_named_by_where_they_are_taken(model):
    features = jax.jit(lambda p, e: model.features(COPY, p, e, 4))(initial(model, COPY, KEY), sampled(COPY, 5))
    assert set(features) == {"embedding", *(f"block {i}" for i in range(model.depth)), "readout"}
    assert all(f.shape == (5, model.width) for f in features.values())
    logits = network(model, COPY).readout(features["readout"], "float32")
    outputs = compiled(model, COPY, "__call__")(sampled(COPY, 5), 4)
    np.testing.assert_allclose(logits, outputs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("model", [m for m in MODELS if not isinstance(m, Transformer | GRU | LSTM)], ids=repr)
def test_the_parallel_scan_of_accelerators_is_the_sequential_one_of_cpus(model, monkeypatch):
    """The same associative operation in another order."""
    net = network(model, COPY)
    x, positions = embedded(model, COPY, 9)
    states = net.initial_state(4, 10)
    one, after = compiled(model, COPY, "advance")(x, positions, states)
    monkeypatch.setattr(scans.jax.lax, "platform_dependent", lambda *arguments, cpu, default: default(*arguments))
    other, after_other = jax.jit(lambda *a: net.advance(*a, "float32"))(x, positions, states)
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
    for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(after_other), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("T", [5, 64, 100, 130])
@pytest.mark.parametrize("last", [False, True])
def test_chunked_attention_is_the_recurrence(T, last, rng):
    """S_t = gamma S_{t-1} + k_t v_t^T in float64, from a state that is not zero, within a chunk and beyond."""
    q, k, v = (rng.normal(size=(2, T, 3, 4)) for _ in range(3))
    state, decay = rng.normal(size=(2, 3, 4, 4)), np.array([1.0, 0.97, 0.9])
    outputs, after = recurrence.decayed_attention(
        *(jnp.asarray(a, jnp.float32) for a in (q[:, -1:] if last else q, k, v, decay, state)), last
    )
    expected = []
    for t in range(T):
        state = decay[:, None, None] * state + k[:, t, :, :, None] * v[:, t, :, None, :]
        expected.append(np.einsum("bhk,bhkv->bhv", q[:, t], state))
    expected = np.stack(expected, axis=1)[:, -1:] if last else np.stack(expected, axis=1)
    np.testing.assert_allclose(outputs, expected, rtol=2e-4, atol=2e-4)
    np.testing.assert_allclose(after, state, rtol=2e-4, atol=2e-4)


def test_without_positions_a_layer_does_not_know_the_order():
    """NoPE, one block: the last token sees a set. With rotary positions it does not."""
    examples = sampled(COPY, 8)
    mixed = examples._replace(context=examples.context[:, jnp.asarray([3, 1, 4, 0, 2, 5, 7, 6, 8])])
    for positions, alike in ((NoPositions(), True), (RoPE(), False)):
        model = Transformer(depth=1, width=16, heads=2, positions=positions)
        a, b = (predicted(model, COPY, initial(model, COPY, KEY), e, 9) for e in (examples, mixed))
        assert np.allclose(a, b, atol=1e-5) == alike


def test_a_window_hides_what_is_older():
    """One block of window 3: of 9 tokens and a start the last sees three."""
    model = Transformer(depth=1, width=16, heads=2, window=3)
    parameters, examples = initial(model, COPY, KEY), sampled(COPY, 8)
    other = sampled(COPY, 8, 9).context
    for n, alike in ((6, True), (7, False)):
        changed = examples._replace(context=jnp.concatenate([other[:, :n], examples.context[:, n:]], axis=1))
        a, b = (predicted(model, COPY, parameters, e, 9) for e in (examples, changed))
        assert np.array_equal(a, b) == alike


def test_a_state_forgets_no_more_than_the_model_says():
    """Sizes that do not grow with the context, but for attention's."""
    for model in MODELS:
        grows = isinstance(model, Transformer) and model.window is None
        assert (model.state_size(100) > model.state_size(50)) == grows


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
        (lambda: Transformer(window=0), "window must be at least 1; got 0"),
        (lambda: Transformer(positions="rope"), "positions"),
        (lambda: LinearAttention(width=30, heads=4), "multiple of heads"),
        (lambda: RetNet(width=20, heads=4), "even width; got 5"),
        (lambda: Mamba(state_numbers=0), "state_numbers must be at least 1; got 0"),
        (lambda: MinGRU(depth=0), "depth must be between 1 and 1000; got 0"),
        (lambda: RWKV4(width=1.5), "width"),
        (lambda: LSTM(feed_forward=-1), "feed_forward must be at least 1; got -1"),
    ],
)
def test_impossible_models_are_refused(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


def test_a_context_longer_than_learned_positions_is_refused_with_both_names():
    model = Transformer(positions=LearnedPositions(9))
    with pytest.raises(ValueError, match="Transformer has 9 learned positions; LagCopy needs 10"):
        model.init(COPY, KEY, 9)
    assert nnx.split(Transformer(positions=LearnedPositions(10)).network(COPY, KEY, 9))


def test_no_model_is_left_out():
    assert {type(model) for model in MODELS} == {
        Transformer, LinearAttention, RetNet, RWKV4, Mamba, MinGRU, GRU, LSTM
    }  # fmt: skip
