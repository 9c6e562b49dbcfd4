"""Mixed precision: which factors are rounded, and what that does to a study. Batches of runs against single runs."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simulator import Study, run
from simulator.learners import GradientDescent, Run
from simulator.models import MLP, precision
from simulator.tasks import GaussianLookBack, SparseParity

PARITY = SparseParity(((2, 1), (3, 1), (6, 2), (12, 5)), 10)
SERIES = GaussianLookBack.designed(C0=1.0, C=1.0, gamma=1.0, b=1.0, max_context_length=8)
LEARNER = GradientDescent(model=MLP(hidden_sizes=(16, 16)), steps=400, batch_size=32, validation_size=512)


def rounded(array):
    return np.asarray(array).astype(jnp.bfloat16).astype(np.float64)


@pytest.mark.parametrize(
    ("shape", "emulated"),
    [((7, 1, 2), False), ((33, 8, 1), False), ((64, 88, 64), True)],
)
def test_mixed_products_are_those_of_rounded_factors(shape, emulated, monkeypatch, rng):
    """A layer and both its gradients against float64: products of factors of 8 bits are exact in float32.

    Only the order of the sum is free. It holds for a batch of runs too, and on a CPU without such an instruction.
    """
    monkeypatch.setattr(precision, "_cpu_has_mixed_product", lambda: not emulated)
    batch, i, o = shape
    x, w, b, g = (rng.normal(size=s).astype(np.float32) for s in ((batch, i), (i, o), (o,), (batch, o)))

    def layer_and_gradients(x, w, b, g):
        outputs, back = jax.vjp(lambda *a: precision.linear(*a, "mixed"), x, w, b)
        return outputs, *back(g)

    x64, w64, g64 = map(rounded, (x, w, g))
    expected = (x64 @ w64 + b, g64 @ w64.T, x64.T @ g64, g64.sum(axis=0))
    one_run = jax.jit(layer_and_gradients)(x, w, b, g)
    two_runs = jax.jit(jax.vmap(layer_and_gradients))(*(np.stack([a, 2 * a]) for a in (x, w, b, g)))
    for single, pair, exact in zip(one_run, two_runs, expected, strict=True):
        assert single.dtype == jnp.float32
        np.testing.assert_allclose(single, exact, rtol=1e-5, atol=1e-5 * np.abs(exact).max())
        np.testing.assert_allclose(pair[0], exact, rtol=1e-5, atol=1e-5 * np.abs(exact).max())


def test_samples_drawn_token_by_token_are_multiplied_like_others(rng):
    """If the compiler folded their transposition into the product, the CPU would lack the instruction for it."""
    drawn, kernel = (jnp.asarray(rng.normal(size=s), jnp.float32) for s in ((8, 1024), (8, 256)))

    def layer(drawn):
        _, tokens = jax.lax.scan(lambda state, token: (state, (token > 0).astype(jnp.int32)), None, drawn)
        bits = jnp.where(tokens.T > 0, jnp.float32(1), jnp.float32(-1))
        return precision.linear(bits, kernel, jnp.zeros(256), "mixed")

    exact = np.where(np.asarray(drawn).T > 0, 1.0, -1.0) @ rounded(kernel)
    np.testing.assert_allclose(jax.jit(layer)(drawn), exact, rtol=1e-5, atol=1e-5)


def test_float32_is_not_rounded(rng):
    x, w, b = (rng.normal(size=s).astype(np.float32) for s in ((64, 40), (40, 8), (8,)))
    exact = x.astype(np.float64) @ w.astype(np.float64) + b
    with jax.default_matmul_precision("highest"):
        full = np.asarray(precision.linear(*map(jnp.asarray, (x, w, b)), "float32"))
    mixed = np.asarray(precision.linear(*map(jnp.asarray, (x, w, b)), "mixed"))
    assert np.abs(full - exact).max() < 1e-4 < 1e-3 < np.abs(mixed - exact).max() < 0.2


def test_loss_and_gradient_lose_no_more_than_the_digits_of_their_factors():
    """Factors are rounded by 2^-9 at most, independently of each other, so that a mean over samples hardly moves.

    The gradients of samples cancel in part at the start, and their errors do not.
    """
    task, model, length = SERIES, MLP(hidden_sizes=(64, 64)), SERIES.max_context_length

    @jax.jit
    def losses_and_gradients():
        examples = task.sample(jax.random.key(1), jnp.arange(512))
        start = model.init(task, jax.random.key(0), length)

        def loss(parameters, kind):
            prediction = model.apply(task, parameters, examples, length, kind)
            return task.pointwise_loss(prediction, examples, length).mean()

        return [jax.value_and_grad(loss)(start, kind) for kind in ("float32", "mixed")]

    with jax.default_matmul_precision("highest"):
        (loss, gradient), (mixed_loss, mixed_gradient) = jax.tree.map(np.asarray, losses_and_gradients())
    assert abs(mixed_loss - loss) < 2e-3 * loss
    difference, whole = (
        np.concatenate([np.ravel(a) for a in jax.tree.leaves(tree)])
        for tree in (jax.tree.map(np.subtract, mixed_gradient, gradient), gradient)
    )
    assert 1e-4 < np.linalg.norm(difference) / np.linalg.norm(whole) < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("task", [PARITY, SERIES], ids=["parity", "series"])
def test_mixed_precision_leaves_the_measured_loss_where_it_was(task):
    """Approximation losses of the two precisions agree within two standard errors over seeds, at every length."""
    lengths = (2, 6, 8)
    tables = [
        run(Study(task, dataclasses.replace(LEARNER, precision=p), lengths, (1000,), seeds=8), progress=False)
        for p in ("float32", "mixed")
    ]
    losses = [table["approximation_loss"].isel(dataset_size=0) for table in tables]
    difference = losses[1] - losses[0]
    assert np.any(difference != 0)
    error = np.sqrt(sum(loss.var("seed", ddof=1) for loss in losses) / 8)
    assert np.all(np.abs(difference.mean("seed")) < 2 * error + 1e-4)


@pytest.mark.slow
def test_runs_side_by_side_are_single_runs_up_to_rounding():
    """After one step, losses agree to 1e-5. Later, rounding differences grow, because training is chaotic.

    The loss averaged over seeds still agrees within two standard errors.
    """

    def losses(side_by_side, steps):
        learner = dataclasses.replace(LEARNER, side_by_side=side_by_side, steps=steps, patience=None)
        fitted = learner.fit_runs(PARITY, [Run(6, 1000, seed) for seed in range(8)])
        return np.array([f.validation_losses[-1] for f in sorted(fitted, key=lambda f: f.run.seed)])

    np.testing.assert_allclose(losses(1, 1), losses(16, 1), rtol=1e-5)
    alone, together = losses(1, 400), losses(16, 400)
    error = np.sqrt((alone.var(ddof=1) + together.var(ddof=1)) / 8)
    assert abs(alone.mean() - together.mean()) < 2 * error
    assert not np.array_equal(alone, together)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"precision": "bfloat16"}, "precision"),
        ({"side_by_side": 0}, "side_by_side must be between 1 and .*; got 0"),
    ],
)
def test_impossible_ways_to_compute_are_refused(changes, message):
    with pytest.raises((ValueError, TypeError), match=message):  # a TypeError where types are checked first
        dataclasses.replace(LEARNER, **changes)
