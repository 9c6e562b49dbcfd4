"""The manifold teacher against its own definition integrated numerically, and its samples against theirs."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.tasks.manifold_teacher import ManifoldTeacher, _teacher
from tests.simulator.compiled import BATCH, predict, sample

TASK = ManifoldTeacher(8, gamma=0.5, n_frequencies=3, smoothness=0.5)
FOLDED = ManifoldTeacher(9, dimension_profile=(1, 2, 2, 3, 3, 3, 4, 5, 5), ambient_dimension=3)
STEEP = ManifoldTeacher(6, n_frequencies=1, equal_slopes=True)
each_task = pytest.mark.parametrize("task", [TASK, FOLDED, STEEP], ids=["plain", "folded", "steep"])


def told(task, latents):
    """a_i g_i(z_1..z_i) for each latent i, feature by feature in float64; (..., n) to (..., n)."""
    frequencies, phases, weights, number = _teacher(task)
    terms = np.zeros(latents.shape)
    for frequency, phase, weight, i in zip(frequencies, phases, weights, number, strict=True):
        assert not frequency[i:].any(), "a term may depend on no later latent"
        terms[..., i - 1] += weight * np.cos(latents @ frequency + phase)
    return terms


@st.composite
def teachers(draw, longest=6):
    L = draw(st.integers(1, longest))
    rises = draw(st.lists(st.integers(0, 1), min_size=L - 1, max_size=L - 1))
    return ManifoldTeacher(
        L,
        gamma=draw(st.floats(0.2, 3)),
        amplitude=draw(st.floats(0.1, 5)),
        noise_variance=draw(st.floats(0, 1)),
        n_frequencies=draw(st.integers(1, 4)),
        smoothness=draw(st.floats(0, 3)),
        equal_slopes=draw(st.booleans()),
        dimension_profile=draw(st.sampled_from([None, tuple(np.cumsum([1, *rises]).tolist())])),
        ambient_dimension=draw(st.integers(1, 4)),
        seed=draw(st.integers(0, 9)),
    )


@given(teachers())
def test_each_term_has_mean_zero_and_its_exact_variance_whatever_the_nearer_latents_are(task):
    """The midpoint rule over a period is exact for trigonometric polynomials: E[a_i g_i] and E[(a_i g_i)^2] given z_<i.

    Terms with conditional mean zero are orthogonal, so R(l) is the noise and the variances of the unseen terms.
    """
    n = int(task.intrinsic_dimension(task.max_context_length))
    rng = np.random.default_rng(0)
    N = 256  # above twice the highest frequency, 4 x 23
    grid = (2 * np.arange(N) + 1) / N - 1
    variances = []
    for i in range(1, n + 1):
        latents = np.repeat(rng.uniform(-1, 1, (5, 1, n)), N, axis=1)
        latents[:, :, i - 1] = grid
        term = told(task, latents)[:, :, i - 1]
        np.testing.assert_allclose(term.mean(axis=1), 0, atol=1e-12)
        np.testing.assert_allclose((term**2).mean(axis=1), (term**2).mean(), rtol=1e-10)
        variances.append((term**2).mean())
    beyond = task.amplitude * (n + 1) ** -task.gamma
    for length in range(task.max_context_length + 1):
        d = int(task.intrinsic_dimension(length))
        assert task.bayes_risk(length) == pytest.approx(task.noise_variance + sum(variances[d:]) + beyond, rel=1e-10)


@given(teachers())
def test_risk_and_dimension_are_those_asked_for(task):
    L = task.max_context_length
    profile = [0, *(task.dimension_profile or range(1, L + 1))]
    assert [task.intrinsic_dimension(length) for length in range(L + 1)] == profile
    risks = [task.bayes_risk(length) for length in range(L + 1)]
    assert risks[0] == pytest.approx(task.noise_variance + task.amplitude, rel=1e-12)
    assert risks[L] == pytest.approx(task.noise_variance + task.amplitude * (profile[L] + 1) ** -task.gamma, rel=1e-12)
    assert np.all(np.diff(risks) <= 0)
    assert task.risk_exponent == (task.gamma if profile == list(range(L + 1)) else None)


@pytest.mark.parametrize("length", [0, 1, 2])
def test_prediction_is_the_mean_over_what_is_unseen(length):
    """E[y | z_1..z_l] by quadrature over the other latents of three."""
    task = ManifoldTeacher(3, n_frequencies=2, smoothness=0.0)
    examples = sample(task)
    nodes, weights = np.polynomial.legendre.leggauss(40)
    hidden = 3 - length
    grids = np.stack(np.meshgrid(*[nodes] * hidden, indexing="ij"), axis=-1).reshape(-1, hidden)
    weight = np.prod(np.stack(np.meshgrid(*[weights / 2] * hidden, indexing="ij"), axis=-1), axis=-1).ravel()
    for context, prediction in zip(examples.context[:12], predict(task, examples, length), strict=False):
        visible = context.astype(float)[::-1][:length]
        latents = np.concatenate([np.broadcast_to(visible, (len(grids), length)), grids], axis=1)
        assert prediction == pytest.approx(weight @ told(task, latents).sum(axis=1), abs=2e-5)


@each_task
def test_latents_are_uniform_and_the_answer_is_the_teacher_s_with_the_right_noise(task):
    n, L = 12 * BATCH, task.max_context_length
    examples = sample(task, n)
    latents = np.asarray(task._decode(jnp.asarray(examples.context)), float)[:, ::-1]
    first = np.flatnonzero(np.diff([0, *(task.dimension_profile or range(1, L + 1))]))
    latents = latents[:, first]
    assert np.abs(latents).max() <= 1 + 1e-6
    for power, moment in ((1, 0), (2, 1 / 3), (3, 0), (4, 1 / 5)):
        assert np.abs((latents**power).mean(axis=0) - moment).max() < 5 * np.sqrt(1 / 3 / n)
    correlations = np.corrcoef(latents.T) - np.eye(len(first))
    assert np.abs(correlations).max() < 5 / np.sqrt(n)
    residual = np.asarray(examples.target, float) - told(task, latents).sum(axis=1)
    assert abs(residual.var() / task.bayes_risk(L) - 1) < 4 * np.sqrt(2 / n)
    assert abs((residual**4).mean() / residual.var() ** 2 - 3) < 4 * np.sqrt(24 / n)
    assert np.abs([np.corrcoef(residual, z)[0, 1] for z in latents.T]).max() < 5 / np.sqrt(n)


def test_a_token_that_reveals_nothing_new_shows_the_last_latent_through_another_embedding():
    examples = sample(FOLDED)
    latents = np.asarray(FOLDED._decode(jnp.asarray(examples.context)))[:, ::-1]
    for distance, (a, b) in enumerate(zip(FOLDED.dimension_profile[:-1], FOLDED.dimension_profile[1:], strict=True), 1):
        same = np.allclose(latents[:, distance - 1], latents[:, distance], atol=1e-6)
        assert same == (a == b)
    tokens = examples.context[:, ::-1]
    assert not np.allclose(tokens[:, 1], tokens[:, 2], atol=0.1)
    assert np.asarray(FOLDED.relevant_tokens(examples))[0].tolist() == [d in (1, 2, 4, 7, 8) for d in range(9, 0, -1)]


@pytest.mark.parametrize(("A", "seed"), [(2, 0), (7, 3)])
def test_a_token_is_a_smooth_curve_that_decodes_to_its_latent(A, seed):
    """Neighbouring latents have neighbouring tokens, and the first coordinate of the rotated token is the latent."""
    task = ManifoldTeacher(2, ambient_dimension=A, seed=seed)
    z = np.linspace(-1, 1, 1001, dtype=np.float32)
    tokens = np.asarray(task._embed(jnp.stack([z, z], axis=1)))
    np.testing.assert_allclose(task._decode(jnp.asarray(tokens)), np.stack([z, z], axis=1), atol=2e-6)
    steps = np.linalg.norm(np.diff(tokens, axis=0), axis=2)
    assert steps.max() < 2 * np.pi * np.sqrt(A) * 0.002 * 1.01
    assert steps.min() > 0.002 * 0.99


def test_a_longer_task_keeps_the_teacher_of_a_shorter_one():
    """So context lengths of different L are comparable: the first terms are the same functions."""
    short, long = ManifoldTeacher(3, seed=5), ManifoldTeacher(6, seed=5)
    latents = np.random.default_rng(0).uniform(-1, 1, (50, 6))
    np.testing.assert_allclose(told(long, latents)[:, :3], told(short, latents[:, :3]), rtol=1e-12)


def test_smoothness_sets_how_fast_coefficients_fall():
    """c_k^2 ~ k^-(2 s + 1)."""
    weights = _teacher(ManifoldTeacher(1, n_frequencies=4, smoothness=1.5))[2]
    np.testing.assert_allclose(weights / weights[0], np.arange(1.0, 5) ** -2, rtol=1e-12)


@pytest.mark.parametrize(
    ("dials", "message"),
    [
        ({"dimension_profile": (1, 2)}, r"max_context_length = 3 integers.*got \(1, 2\)"),
        ({"dimension_profile": (2, 2, 3)}, r"start at 1 and rise by 0 or 1; got \(2, 2, 3\)"),
        ({"dimension_profile": (1, 3, 3)}, r"rise by 0 or 1; got \(1, 3, 3\)"),
        ({"dimension_profile": (1, 2, 1)}, r"rise by 0 or 1; got \(1, 2, 1\)"),
    ],
)
def test_impossible_dials_are_refused_by_value(dials, message):
    with pytest.raises(ValueError, match=message):
        ManifoldTeacher(3, **dials)


def test_with_equal_slopes_the_squared_gradient_grows_as_the_dimension_and_otherwise_as_the_variance():
    """Exactly, by the frequencies: E|grad m_l|^2 = sum of a^2 |frequency|^2 over the terms seen."""

    def squared_gradient(task):
        frequencies, _, weights, number = _teacher(task)
        terms = weights**2 / 2 * np.sum(frequencies**2, axis=1)
        return np.array([terms[number <= d].sum() for d in range(1, task.max_context_length + 1)])

    dimension = np.arange(1, 41)
    steep = squared_gradient(ManifoldTeacher(40, n_frequencies=1, equal_slopes=True)) / dimension
    np.testing.assert_allclose(steep, steep[-1], rtol=0.17)
    plain = squared_gradient(ManifoldTeacher(40, n_frequencies=1))
    assert plain[-1] / plain[9] == pytest.approx((1 - 1 / 41) / (1 - 1 / 11), rel=0.1)
