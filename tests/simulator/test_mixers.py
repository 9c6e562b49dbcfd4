"""Every mixer: its published formula in float64, and what holds for all of its forms."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.special import expit

from simulator.models import (
    GRU,
    LSTM,
    RWKV4,
    ALiBi,
    DynamicNTK,
    LinearAttention,
    Mamba,
    MinGRU,
    NTKAware,
    RelativeRoPE,
    RetNet,
    RoPE,
    Transformer,
    YaRN,
)
from simulator.models.layers import initialised
from tests.simulator.parameters import drawn as random_parameters

T, E, CUT = 7, 16, 2
MIXERS = [
    Transformer(width=E, heads=4, kv_heads=2, positions=ALiBi(), window=5, log_length=True),
    Transformer(width=E, heads=4, kv_heads=2, positions=RelativeRoPE(base=50.0, max_length=T), window=3),
    Transformer(width=E, heads=2, positions=YaRN(base=100.0, scale=4.0, trained_length=64), log_length=True),
    LinearAttention(width=E, heads=2),
    RetNet(width=E, heads=2),
    RWKV4(width=E),
    Mamba(width=E, state_numbers=3),
    MinGRU(width=E),
    GRU(width=E),
    LSTM(width=E),
]
each_mixer = pytest.mark.parametrize("model", MIXERS, ids=repr)
each_kind = pytest.mark.parametrize("model", MIXERS[2:], ids=lambda model: type(model).__name__)


class Alone(nnx.Module):
    def __init__(self, model):
        self.mixer = model.mixer(1.0)


def split(model):
    return nnx.split(initialised(Alone(model), jax.random.key(4)))


@functools.cache
def drawn(model):
    """A mixer with random parameters, compiled, and random tokens (2, T, E)."""
    graph, shapes = nnx.eval_shape(lambda: split(model))
    parameters = random_parameters(shapes)

    @functools.partial(jax.jit, static_argnames=("precision", "last"))
    def advance(parameters, x, places, state, precision="float32", last=False):
        return nnx.merge(graph, parameters).mixer(x, places, state, precision, last)

    x = np.random.default_rng(1).normal(size=(2, T, E)).astype(np.float32)
    return nnx.merge(graph, parameters).mixer, functools.partial(advance, parameters), advance, parameters, x


def assert_same(outputs, expected):
    """Outputs and states, up to the order of sums."""
    for a, b in zip(jax.tree.leaves(outputs), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5)


@functools.cache
def gradients(model):
    """A program: the outputs at some places, and gradients of those from CUT to 4 by parameters and tokens."""
    _, _, advance, _, x = drawn(model)
    weights = np.random.default_rng(0).normal(size=x.shape).astype(np.float32)

    def middle(parameters, x, places):
        outputs = advance(parameters, x, places, None)[0]
        return (outputs * weights)[:, CUT:5].sum(), outputs

    return jax.jit(jax.grad(middle, (0, 1), has_aux=True))


@functools.cache
def whole(model):
    """The outputs for all tokens at once, as in training."""
    *_, parameters, x = drawn(model)
    return np.asarray(gradients(model)(parameters, x, np.arange(T))[1])


@functools.cache
def stepped(model):
    """Outputs and states of the recurrence, before the first token and after each."""
    mixer, _, _, _, x = drawn(model)
    step = jax.jit(lambda token, place, state: mixer.step(token, place, state, "float32"))
    outputs, states = [], [jax.jit(lambda: mixer.initial_state(2, T))()]
    for t in range(T):
        output, state = step(x[:, t], np.int32(t), states[-1])
        outputs.append(output)
        states.append(state)
    return np.stack(outputs, axis=1), states


@each_mixer
def test_the_recurrence_and_a_chunk_after_it_give_the_parallel_form(model):
    """Two hidden tokens before a chunk leave outputs and state as if they were not there."""
    _, advance, _, _, x = drawn(model)
    outputs, states = stepped(model)
    assert_same(outputs, whole(model))
    for hidden in (CUT, 0):
        places = np.arange(T - CUT) + CUT - 2 * hidden
        seen = places[hidden:]
        outputs, state = advance(x[:, places], places, states[seen[0]])
        assert_same((outputs[:, hidden:], state), (whole(model)[:, seen], states[seen[-1] + 1]))


def test_dynamic_ntk_stretches_by_the_position_of_the_last_token():
    """Seven tokens with a trained length of two are NTK-aware positions of scale 7/2."""
    models = [Transformer(width=E, heads=2, positions=p) for p in (DynamicNTK(trained_length=2), NTKAware(scale=T / 2))]
    assert_same(*(whole(model) for model in models))


@pytest.mark.parametrize(
    "model", [RWKV4(width=E), Mamba(width=E), MinGRU(width=E)], ids=lambda model: type(model).__name__
)
def test_the_parallel_scan_of_accelerators_is_the_sequential_one_of_cpus(model, monkeypatch):
    """The same associative operation in another order, from a state that is not zero."""
    mixer, _, _, _, x = drawn(model)
    monkeypatch.setattr(jax.lax, "platform_dependent", lambda *arguments, cpu, default: default(*arguments))
    parallel = jax.jit(lambda x, state: mixer(x, jnp.arange(CUT, T), state, "float32", False))
    assert_same(parallel(x[:, CUT:], stepped(model)[1][CUT]), (whole(model)[:, CUT:], stepped(model)[1][-1]))


@each_mixer
def test_no_gradient_reaches_hidden_or_later_tokens(model):
    """Two tokens are hidden and two are later: their gradients are exactly zero, those of all else are not."""
    *_, parameters, x = drawn(model)
    of_parameters, of_tokens = gradients(model)(parameters, x, np.arange(T) - CUT)[0]
    seen = np.asarray(of_tokens).any(axis=-1)
    np.testing.assert_array_equal(seen, np.broadcast_to([False] * CUT + [True] * 3 + [False] * 2, seen.shape))
    for leaf in map(np.asarray, jax.tree.leaves(of_parameters)):
        assert np.isfinite(leaf).all()
        assert np.any(leaf)


def weights(parameter):
    return np.asarray(parameter[...], np.float64)


def dense(layer, x):
    return x @ weights(layer.kernel) + (0 if layer.bias is None else weights(layer.bias))


def rounded_dense(layer, x):
    """The layer with factors of 8 significant bits."""
    x, kernel = (a.astype(jnp.bfloat16).astype(np.float64) for a in (x, weights(layer.kernel)))
    return x @ kernel + (0 if layer.bias is None else weights(layer.bias))


@each_mixer
def test_outputs_are_those_of_the_published_formula(model):
    mixer, *_, x = drawn(model)
    expected = FORMULAS[type(model)](model, mixer, np.asarray(x, np.float64), dense)
    np.testing.assert_allclose(whole(model), expected, rtol=2e-4, atol=2e-4 * np.abs(expected).max())


@each_kind
def test_mixed_precision_is_the_formula_with_rounded_factors_in_every_layer(model):
    """A float32 error rarely rounds a factor the other way; that leaves a tenth of the distance to full precision.
    The output of the last token can be asked for alone."""
    mixer, advance, _, _, x = drawn(model)
    exact, rounded = (
        FORMULAS[type(model)](model, mixer, np.asarray(x, np.float64), of)[:, -1:] for of in (dense, rounded_dense)
    )
    mixed, _ = advance(x, np.arange(T), None, "mixed", last=True)
    assert mixed.shape == rounded.shape
    assert np.linalg.norm(mixed - rounded) < 0.1 * np.linalg.norm(rounded - exact)


def in_heads(x, heads):
    return x.reshape(*x.shape[:-1], heads, -1)


def turned_score(q, k, distance, rule):
    """Re sum_i q_i conj(k_i) exp(i distance theta_i), component i being real and i + K/2 imaginary."""
    half = len(q) // 2
    theta = rule.unstretched(len(q)) / rule.divisors(len(q))
    q, k = q[:half] + 1j * q[half:], k[:half] + 1j * k[half:]
    return rule.magnitude**2 * np.sum(q * np.conj(k) * np.exp(1j * distance * theta)).real


def attention(model, mixer, x, layer):
    """A softmax over the tokens in sight; learned vectors of distances are added to keys (Shaw et al., eq. 4)."""
    H, G, K = model.heads, model.n_kv_heads, model.head_width
    q = in_heads(layer(mixer.query, x), H)
    k, v = (in_heads(layer(of, x), G) for of in (mixer.key, mixer.value))
    rule, mixed = model.positions, np.zeros((2, T, H, K))
    for b, i, h in np.ndindex(2, T, H):
        seen, g, logits = range(max(0, i + 1 - (model.window or T)), i + 1), h // (H // G), []
        for j in seen:
            query, key = q[b, i, h], k[b, j, g]
            score = turned_score(query, key, i - j, rule) if isinstance(rule, RoPE) else query @ key
            if isinstance(rule, RelativeRoPE):
                score += query @ weights(mixer.distances)[i - j, g]
            slope = 2.0 ** (-8 * (h + 1) / H) if isinstance(rule, ALiBi) else 0.0
            sharpness = max(1, np.log(len(seen))) if model.log_length else 1
            logits.append((score / np.sqrt(K) - slope * (i - j)) * sharpness)
        share = np.exp(logits) / np.exp(logits).sum()
        mixed[b, i, h] = sum(s * v[b, j, g] for s, j in zip(share, seen, strict=True))
    return layer(mixer.output, mixed.reshape(2, T, E))


def linear_attention(model, mixer, x, layer):
    """y_i = sum_{j<=i} (phi(q_i) . phi(k_j)) v_j over the sum of the weights; phi(x) = elu(x) + 1."""

    def phi(a):
        return np.where(a > 0, a + 1, np.exp(np.minimum(a, 0)))

    q, k = (phi(in_heads(layer(of, x), 2)) for of in (mixer.query, mixer.key))
    pairs = np.einsum("bihk,bjhk->bhij", q, k) * np.tril(np.ones((T, T)))
    mixed = np.einsum("bhij,bjhk->bihk", pairs / pairs.sum(-1, keepdims=True), in_heads(layer(mixer.value, x), 2))
    return layer(mixer.output, mixed.reshape(2, T, E))


def retention(model, mixer, x, layer):
    """(Q K^T * D) V with D_ij = gamma_h^(i-j), normalised per head, gated."""
    q, k, v = (in_heads(layer(of, x), 2) for of in (mixer.query, mixer.key, mixer.value))
    mixed = np.zeros((2, T, 2, E // 2))
    for b, i, h in np.ndindex(2, T, 2):
        gamma = 1 - 2.0 ** (-5 - h)
        for j in range(i + 1):
            mixed[b, i, h] += gamma ** (i - j) * turned_score(q[b, i, h], k[b, j, h], i - j, RoPE()) * v[b, j, h]
    mixed /= np.sqrt(E // 2)
    mixed = (mixed - mixed.mean(-1, keepdims=True)) / np.sqrt(mixed.var(-1, keepdims=True) + 1e-6)
    gate = layer(mixer.gate, x)
    return layer(mixer.output, gate * expit(gate) * mixed.reshape(2, T, E) * weights(mixer.norm_gain))


def wkv(model, mixer, x, layer):
    """Weights e^{-(t-1-i) w + k_i} of the tokens before, and e^{u + k_t} of the present one."""
    before = np.concatenate([np.zeros((2, 1, E)), x[:, :-1]], axis=1)
    r, k, v = (
        layer(of, share * x + (1 - share) * before)
        for of, share in zip((mixer.receptance, mixer.key, mixer.value), weights(mixer.blend), strict=True)
    )
    w, u, average = np.exp(weights(mixer.log_rate)), weights(mixer.bonus), np.zeros_like(v)
    for t in range(T):
        each = np.stack([np.exp(-(t - 1 - i) * w + k[:, i]) for i in range(t)] + [np.exp(u + k[:, t])], axis=1)
        average[:, t] = (each * v[:, : t + 1]).sum(axis=1) / each.sum(axis=1)
    return layer(mixer.output, expit(r) * average)


def state_space(model, mixer, x, layer):
    """h_t = exp(Delta_t A) h_{t-1} + Delta_t B_t u_t, y_t = C_t h_t + D u_t, u a convolution of four inputs."""
    inner, n, taps = model.inner_width, model.state_numbers, weights(mixer.taps)
    u, gate = np.split(layer(mixer.inputs, x), 2, axis=-1)
    padded = np.concatenate([np.zeros((2, 3, inner)), u], axis=1)
    u = sum(taps[i] * padded[:, i : i + T] for i in range(4)) + weights(mixer.tap_bias)
    u = u * expit(u)
    low_rank, B, C = np.split(layer(mixer.selection, u), [model.rank, model.rank + n], axis=-1)
    delta = np.log1p(np.exp(layer(mixer.delta, low_rank) + weights(mixer.delta_bias)))
    A, state, y = -np.exp(weights(mixer.log_rates)), np.zeros((2, inner, n)), np.zeros_like(u)
    for t in range(T):
        d = delta[:, t, :, None]
        state = np.exp(d * A) * state + d * B[:, t, None, :] * u[:, t, :, None]
        y[:, t] = (state * C[:, t, None, :]).sum(axis=-1) + weights(mixer.skip) * u[:, t]
    return layer(mixer.output, y * gate * expit(gate))


def mean_of_candidates(model, mixer, x, layer):
    """h_t = sum_i z_i g(c_i) prod_{i<j<=t} (1 - z_j)."""
    z, c = expit(layer(mixer.gate, x)), layer(mixer.candidate, x)
    c = np.where(c >= 0, c + 0.5, expit(c))
    h = np.stack(
        [sum(z[:, i] * c[:, i] * np.prod(1 - z[:, i + 1 : t + 1], axis=1) for i in range(t + 1)) for t in range(T)], 1
    )
    return layer(mixer.output, h)


def textbook_gates(model, mixer, x, layer):
    h, c, shown = np.zeros((2, E)), np.zeros((2, E)), []
    for t in range(T):
        a, b = layer(mixer.of_token, x[:, t]), layer(mixer.of_state, h)
        if isinstance(model, GRU):
            r, z = expit(a[:, :E] + b[:, :E]), expit(a[:, E : 2 * E] + b[:, E : 2 * E])
            h = (1 - z) * np.tanh(a[:, 2 * E :] + r * b[:, 2 * E :]) + z * h
        else:
            i, f, o, g = np.split(a + b, 4, axis=-1)
            c = expit(f + 1) * c + expit(i) * np.tanh(g)
            h = expit(o) * np.tanh(c)
        shown.append(h)
    return layer(mixer.output, np.stack(shown, axis=1))


FORMULAS = {
    Transformer: attention,
    LinearAttention: linear_attention,
    RetNet: retention,
    RWKV4: wkv,
    Mamba: state_space,
    MinGRU: mean_of_candidates,
    GRU: textbook_gates,
    LSTM: textbook_gates,
}


@each_kind
def test_parameters_start_as_published(model):
    """Layers are uniform with variance 1/fan-in; Mamba's Delta starts in [0.001, 0.1] and A at -1, -2, ..., -N."""
    graph, _ = nnx.eval_shape(lambda: split(model))
    mixer = nnx.merge(graph, jax.jit(lambda: split(model)[1])()).mixer
    for _, layer in nnx.iter_graph(mixer):
        if hasattr(layer, "kernel"):
            bound = np.sqrt(3 / layer.kernel.shape[0])
            assert 0.85 * bound < np.abs(weights(layer.kernel)).max() <= bound
            assert layer.bias is None or not weights(layer.bias).any()
    if isinstance(model, Mamba):
        delta = np.log1p(np.exp(weights(mixer.delta_bias)))
        assert 0.001 <= delta.min() < 0.003 < 0.03 < delta.max() <= 0.1
        np.testing.assert_allclose(np.exp(weights(mixer.log_rates)), np.tile([1, 2, 3], (model.inner_width, 1)))
        assert (weights(mixer.skip) == 1).all()
    if isinstance(model, RWKV4):
        np.testing.assert_allclose(np.exp(weights(mixer.log_rate)), np.exp(np.linspace(-5, 3, E)), rtol=1e-5)
        assert (weights(mixer.blend) == 0.5).all()
        assert np.abs(weights(mixer.bonus) - np.log(0.3)).max() <= 0.5
