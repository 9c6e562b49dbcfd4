"""In-context linear regression: each sample has weights of its own, to be learned from the examples in its context."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from simulator.random.threefry import random_normals
from simulator.tasks.base import ContextLength, Examples, Index, Key, RegressionTask, TaskForm
from simulator.tasks.sampling import in_whole_vectors, sample_keys
from theory.checks import Count, Positive
from theory.learning_curves.wishart import expected_resolvent_trace, marchenko_pastur_resolvent_trace
from theory.types import Integer


@dataclasses.dataclass(frozen=True)
class InContextRegression(RegressionTask):
    r"""L - 1 examples (x_i, y_i) and a question x*; answer y*. Weights w are drawn anew for every sample.

    w ~ N(0, I_p), x ~ N(0, I_p), y = w.x + noise of variance s2. Every token is the vector (x, y) of p + 1 numbers; the
    newest is the question (x*, 0). So l visible tokens are n = l - 1 examples, X their n x p matrix, and

        P_l: m_l = x*^T (X^T X + s2 I)^-1 X^T y,          R(l) = s2 + E tr (X^T X / s2 + I)^-1,   R(0) = R(1) = p + s2.

    The expectation is exact at finite size, over the eigenvalues of a real Wishart matrix:
    :mod:`theory.learning_curves.wishart`. At
    large l, R(l) - s2 ~ p s2 / l.

    Worked example, p = 1, L = 3, tokens (oldest first) (x_1, y_1), (x_2, y_2), (x*, 0)::

        l = 1      (x*, 0) alone: w is unknown, m = 0
        l = 2      m = x* x_2 y_2 / (x_2^2 + s2)
        l = 3      m = x* (x_1 y_1 + x_2 y_2) / (x_1^2 + x_2^2 + s2)

    ``intrinsic_dimension(l)`` is min(l - 1, p), and 0 at l = 0: the number of directions of w that the examples have
    measured. There is no ``intrinsic_entropy``: the state is continuous.

    Attributes:
        n_features: p.
        noise_variance: s2, above 0.
        max_context_length: L, tokens; L - 1 examples.
    """

    n_features: Count
    noise_variance: Positive
    max_context_length: Count

    @property
    def form(self) -> TaskForm:
        return TaskForm(self.max_context_length, self.loss, n_channels=self.n_features + 1)

    @property
    def risk_exponent(self) -> float:
        """1: R(l) - s2 ~ p s2 / l."""
        return 1.0

    def n_examples(self, context_length: Integer) -> int:
        """Examples among the last l tokens: all but the question."""
        self.check_length(context_length)
        return max(int(context_length) - 1, 0)

    def bayes_risk(self, context_length: Integer) -> float:
        n = self.n_examples(context_length)
        return self.noise_variance + expected_resolvent_trace(n, self.n_features, self.noise_variance)

    def asymptotic_risk(self, context_length: Integer) -> float:
        """R(l) in the limit of large p and l: s2 + p lam m(lam), lam = s2/n, m the Marchenko-Pastur resolvent."""
        n = self.n_examples(context_length)
        return self.noise_variance + marchenko_pastur_resolvent_trace(n, self.n_features, self.noise_variance)

    def intrinsic_dimension(self, context_length: Integer) -> float:
        return float(min(self.n_examples(context_length), self.n_features))

    def intrinsic_entropy(self, context_length: Integer) -> None:
        self.check_length(context_length)

    @in_whole_vectors
    def sample(self, key: Key, index: Index) -> Examples:
        keys, index = sample_keys(key, index)
        L, p = self.max_context_length, self.n_features
        # Row 0 is (w, 0), the others (x, noise) of each token.
        normal = random_normals(keys, (L + 1, p + 1))
        # The noise is one more feature, of weight sqrt(s2): a product of its own might be rounded otherwise inside jit.
        deviation = jnp.full_like(normal[:, 0, p:], self.noise_variance**0.5)
        weights = jnp.concatenate([normal[:, 0, :p], deviation], axis=1)

        def add(y: Array, term: tuple[Array, Array]) -> tuple[Array, None]:
            w, x = term
            return y + w[:, None] * x, None

        # Summed in one order: a matrix product's bits depend on the size of the batch.
        values = jnp.moveaxis(normal[:, 1:, :], 2, 0)
        y, _ = jax.lax.scan(add, jnp.zeros_like(values[0]), (weights.T, values))
        shown = jnp.where(jnp.arange(L) < L - 1, y, jnp.float32(0))
        context = jnp.concatenate([normal[:, 1:, :p], shown[:, :, None]], axis=2)
        return Examples(context, jnp.zeros_like(index), y[:, L - 1])

    def bayes_prediction(self, examples: Examples, context_length: ContextLength) -> Float[Array, "B"]:
        """x*^T E[w | examples], the posterior brought up to date one example at a time.

        The posterior covariance is kept as a product S S^T (Potter's form of the Kalman filter): it cannot lose its
        sign to rounding.
        """
        self.check_length(context_length)
        self.check_examples(examples)
        L, p, s2 = self.max_context_length, self.n_features, jnp.float32(self.noise_variance)
        batch = examples.context.shape[0]
        length = jnp.asarray(context_length, jnp.int32)
        visible = jnp.arange(L) >= L - length
        tokens = jnp.where(visible[None, :, None], examples.context, jnp.float32(0))

        def learn(state: tuple[Array, Array], token: Array) -> tuple[tuple[Array, Array], None]:
            mean, root = state
            x, y = token[:, :p], token[:, p]
            f = jnp.sum(root * x[:, :, None], axis=1)
            variance = s2 + jnp.sum(f * f, axis=1)
            gain = jnp.sum(root * f[:, None, :], axis=2) / variance[:, None]
            mean = mean + gain * (y - jnp.sum(mean * x, axis=1))[:, None]
            shrink = 1 / (1 + jnp.sqrt(s2 / variance))
            return (mean, root - shrink[:, None, None] * gain[:, :, None] * f[:, None, :]), None

        identity = jnp.broadcast_to(jnp.eye(p, dtype=jnp.float32), (batch, p, p))
        start = (jnp.zeros((batch, p), jnp.float32), identity)
        # An invisible token is all zero, and teaches nothing.
        (mean, _), _ = jax.lax.scan(learn, start, jnp.moveaxis(tokens[:, : L - 1], 1, 0))
        return jnp.sum(mean * tokens[:, L - 1, :p], axis=1)
