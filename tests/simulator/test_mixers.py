"""Every mixer against its published formula, written out in float64 as sums over pairs of tokens or one by one."""

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
    LinearAttention,
    Mamba,
    MinGRU,
    NoPositions,
    RetNet,
    RoPE,
    Transformer,
    YaRN,
)
from simulator.models.layers import initialised

T, E = 7, 16


class Alone(nnx.Module):
    def __init__(self, model):
        self.mixer = model.mixer(1.0)


def drawn(model, rng):
    """A mixer whose every parameter is moved off its initial value, tokens, and what it makes of them."""
    mixer = initialised(Alone(model), jax.random.key(4)).mixer
    for _, parameter in nnx.iter_graph(mixer):
        if isinstance(parameter, nnx.Param):
            parameter[...] = parameter[...] + jnp.asarray(0.3 * rng.normal(size=parameter[...].shape), jnp.float32)
    x = rng.normal(size=(2, T, E))
    outputs, _ = jax.jit(lambda x: mixer(x, jnp.arange(T), None, "float32", False))(jnp.asarray(x, jnp.float32))
    return mixer, x, outputs


def weights(parameter):
    return np.asarray(parameter[...], np.float64)


def layer(dense, x):
    return x @ weights(dense.kernel) + (0 if dense.bias is None else weights(dense.bias))


def in_heads(x, heads):
    return x.reshape(*x.shape[:-1], heads, -1)


def assert_close(outputs, expected):
    np.testing.assert_allclose(outputs, expected, rtol=2e-4, atol=2e-4 * np.abs(expected).max())


def turned_score(q, k, distance, rule):
    """Re sum_i q_i conj(k_i) exp(i distance theta_i), component i being real and i + K/2 imaginary."""
    half = len(q) // 2
    theta = rule.unstretched(len(q)) / rule.divisors(len(q))
    q, k = q[:half] + 1j * q[half:], k[:half] + 1j * k[half:]
    return rule.magnitude**2 * np.sum(q * np.conj(k) * np.exp(1j * distance * theta)).real


@pytest.mark.parametrize(
    "model",
    [
        Transformer(width=E, heads=4, positions=NoPositions()),
        Transformer(width=E, heads=4, kv_heads=2, positions=ALiBi()),
        Transformer(width=E, heads=2, positions=RoPE(base=100.0), window=3),
        Transformer(width=E, heads=2, positions=YaRN(base=100.0, scale=4.0, trained_length=64), log_length=True),
        Transformer(width=E, heads=2, positions=NoPositions(), window=5, log_length=True),
    ],
    ids=repr,
)
def test_attention_is_a_softmax_over_the_tokens_in_sight(model, rng):
    mixer, x, outputs = drawn(model, rng)
    H, G, K = model.heads, model.n_kv_heads, model.head_width
    q = in_heads(layer(mixer.query, x), H)
    k, v = (in_heads(layer(dense, x), G) for dense in (mixer.key, mixer.value))
    mixed = np.zeros((2, T, H, K))
    for b, i, h in np.ndindex(2, T, H):
        seen = range(max(0, i + 1 - (model.window or T)), i + 1)
        logits = []
        for j in seen:
            query, key = q[b, i, h], k[b, j, h // (H // G)]
            score = (
                turned_score(query, key, i - j, model.positions) if hasattr(model.positions, "base") else query @ key
            )
            slope = 2.0 ** (-8 * (h + 1) / H) if isinstance(model.positions, ALiBi) else 0.0
            logits.append(
                (score / np.sqrt(K) - slope * (i - j)) * (max(1, np.log(len(seen))) if model.log_length else 1)
            )
        share = np.exp(logits) / np.exp(logits).sum()
        mixed[b, i, h] = sum(s * v[b, j, h // (H // G)] for s, j in zip(share, seen, strict=True))
    assert_close(outputs, layer(mixer.output, mixed.reshape(2, T, E)))


def test_linear_attention_weighs_by_phi(rng):
    """y_i = sum_{j<=i} (phi(q_i) . phi(k_j)) v_j over the sum of the weights; phi(x) = elu(x) + 1."""
    model = LinearAttention(width=E, heads=2)
    mixer, x, outputs = drawn(model, rng)

    def phi(a):
        return np.where(a > 0, a + 1, np.exp(np.minimum(a, 0)))

    q, k = (phi(in_heads(layer(dense, x), 2)) for dense in (mixer.query, mixer.key))
    pairs = np.einsum("bihk,bjhk->bhij", q, k) * np.tril(np.ones((T, T)))
    mixed = np.einsum("bhij,bjhk->bihk", pairs / pairs.sum(-1, keepdims=True), in_heads(layer(mixer.value, x), 2))
    assert_close(outputs, layer(mixer.output, mixed.reshape(2, T, E)))


def test_retention_decays_with_distance(rng):
    """(Q K^T * D) V with D_ij = gamma_h^(i-j), normalised per head, gated."""
    mixer, x, outputs = drawn(RetNet(width=E, heads=2), rng)
    q, k, v = (in_heads(layer(dense, x), 2) for dense in (mixer.query, mixer.key, mixer.value))
    mixed = np.zeros((2, T, 2, E // 2))
    for b, i, h in np.ndindex(2, T, 2):
        gamma = 1 - 2.0 ** (-5 - h)
        for j in range(i + 1):
            mixed[b, i, h] += gamma ** (i - j) * turned_score(q[b, i, h], k[b, j, h], i - j, RoPE()) * v[b, j, h]
    mixed /= np.sqrt(E // 2)
    mixed = (mixed - mixed.mean(-1, keepdims=True)) / np.sqrt(mixed.var(-1, keepdims=True) + 1e-6)
    gate = layer(mixer.gate, x)
    assert_close(outputs, layer(mixer.output, gate * expit(gate) * mixed.reshape(2, T, E) * weights(mixer.norm_gain)))


def test_wkv_is_the_average_of_its_formula(rng):
    """Weights e^{-(t-1-i) w + k_i} of the tokens before, and e^{u + k_t} of the present one."""
    mixer, x, outputs = drawn(RWKV4(width=E), rng)
    before = np.concatenate([np.zeros((2, 1, E)), x[:, :-1]], axis=1)
    r, k, v = (
        layer(dense, share * x + (1 - share) * before)
        for dense, share in zip((mixer.receptance, mixer.key, mixer.value), weights(mixer.blend), strict=True)
    )
    w, u = np.exp(weights(mixer.log_rate)), weights(mixer.bonus)
    wkv = np.zeros_like(v)
    for t in range(T):
        each = np.stack([np.exp(-(t - 1 - i) * w + k[:, i]) for i in range(t)] + [np.exp(u + k[:, t])], axis=1)
        wkv[:, t] = (each * v[:, : t + 1]).sum(axis=1) / each.sum(axis=1)
    assert_close(outputs, layer(mixer.output, expit(r) * wkv))


def test_mamba_is_its_state_space(rng):
    """h_t = exp(Delta_t A) h_{t-1} + Delta_t B_t u_t, y_t = C_t h_t + D u_t, u a convolution of four inputs."""
    model = Mamba(width=E, state_numbers=3)
    mixer, x, outputs = drawn(model, rng)
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
    assert_close(outputs, layer(mixer.output, y * gate * expit(gate)))


def test_min_gru_is_a_mean_of_candidates(rng):
    """h_t = sum_i z_i g(c_i) prod_{i<j<=t} (1 - z_j)."""
    mixer, x, outputs = drawn(MinGRU(width=E), rng)
    z, c = expit(layer(mixer.gate, x)), layer(mixer.candidate, x)
    c = np.where(c >= 0, c + 0.5, expit(c))
    h = np.stack(
        [sum(z[:, i] * c[:, i] * np.prod(1 - z[:, i + 1 : t + 1], axis=1) for i in range(t + 1)) for t in range(T)], 1
    )
    assert_close(outputs, layer(mixer.output, h))


@pytest.mark.parametrize("model", [GRU(width=E), LSTM(width=E)], ids=repr)
def test_gates_are_those_of_the_textbook(model, rng):
    mixer, x, outputs = drawn(model, rng)
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
    assert_close(outputs, layer(mixer.output, np.stack(shown, axis=1)))
