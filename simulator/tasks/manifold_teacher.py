"""A smooth teacher on a manifold whose dimension grows, token by token, as chosen."""

import dataclasses
import functools
import itertools
import math
from collections.abc import Sequence
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from simulator.random.threefry import random_normals
from simulator.tasks.base import ContextLength, Examples, Index, Key, RegressionTask, TaskForm
from simulator.tasks.sampling import in_whole_vectors, sample_keys
from theory.checks import Count, NonNegative, Positive, each, integer
from theory.types import Integer


@dataclasses.dataclass(frozen=True)
class ManifoldTeacher(RegressionTask):
    r"""Each token reveals a latent coordinate z_i, uniform on [-1, 1]; y is a random smooth function of all of them.

    y = sum_i a_i g_i(z_1..z_i) + noise, i = 1 the nearest, with random cosine features

        g_i = sum_{k=1..K} c_k sqrt(2) cos(pi k (z_i + v_ik . z_{<i}) + b_ik),     c_k^2 ~ k^-(2 s + 1), sum c_k^2 = 1,

    v_ik normal of mean square norm 1, b_ik uniform. The frequency in z_i is a non-zero multiple of pi, so that
    E[g_i | z_{<i}] = 0 and E[g_i^2 | z_{<i}] = 1: all terms are orthogonal, and with d = dim(l) latents seen

        P_l: m_l = sum_{i<=d} a_i g_i,      a_i^2 = A (i^-gamma - (i+1)^-gamma),      R(l) = s2 + A (d+1)^-gamma.

    Latents that no token reveals enter as Gaussian noise of their variance A (dim(L)+1)^-gamma. Drawn after the
    construction in which dimension sets the exponent of learning (arXiv 2004.10802, 2102.06701): a learner of smooth
    functions of d variables is expected to lose D^(-c/d).

    With ``equal_slopes`` all v_ik are 0 and term i turns round(a_1/a_i) times as fast: a sum of functions of one latent
    each, all about equally steep. Then E|grad m_l|^2 grows as dim(l), where otherwise it grows as the variance of m_l
    does, and soon stops growing.

    ``dimension_profile`` gives dim(l) after l = 1..L tokens, rising by 0 or 1; where it does not rise, the token
    repeats the latent revealed last, through another embedding. A token is a vector of ``ambient_dimension`` numbers, a
    rotation, fixed for each distance, of (z, cos(w_2 z + f_2), ..., cos(w_A z + f_A)): a smooth curve that never meets
    itself; with one number it is z.

    Worked example, ``ManifoldTeacher(3, gamma=1.0, dimension_profile=(1, 1, 2))``, A = 1, s2 = 0.01::

        distance   3     2     1
        token      z_2   z_1   z_1        dim(0..3) = 0 1 1 2
        R(0) = 1.01,  R(1) = R(2) = 0.51,  R(3) = 0.01 + 1/3

    ``intrinsic_dimension(l)`` is dim(l), the dimension of the manifold on which the visible tokens lie. There is no
    ``intrinsic_entropy``: the latents are continuous.

    Attributes:
        max_context_length: L.
        gamma: exponent of R in dim(l) + 1.
        amplitude: A, the variance of the noiseless answer.
        noise_variance: s2, 0 or above.
        n_frequencies: K.
        smoothness: s, 0 or above. At any K, the answer has square-integrable derivatives below this order.
        equal_slopes: whether every latent has about the same share in the slope of the answer.
        dimension_profile: dim(1), ..., dim(L), from 1 on; None for dim(l) = l.
        ambient_dimension: numbers in one token.
        seed: seed of the teacher and the embeddings.
    """

    max_context_length: Count
    gamma: Positive = 1.0
    amplitude: Positive = 1.0
    noise_variance: NonNegative = 0.01
    n_frequencies: Count = 2
    smoothness: NonNegative = 1.0
    equal_slopes: bool = False
    dimension_profile: Annotated[Sequence[int], each("a dimension of dimension_profile", integer(1))] | None = None
    ambient_dimension: Count = 1
    seed: Annotated[int, integer(0, 2**32 - 1)] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        L, profile = self.max_context_length, self.dimension_profile
        if profile is not None:
            rises = {b - a for a, b in itertools.pairwise(profile)}
            if len(profile) != L or profile[0] != 1 or rises - {0, 1}:
                raise ValueError(
                    f"dimension_profile must be max_context_length = {L} integers, one after each token, that start at "
                    f"1 and rise by 0 or 1; got {profile}"
                )

    @property
    def form(self) -> TaskForm:
        return TaskForm(self.max_context_length, self.loss, n_channels=self.ambient_dimension)

    @property
    def risk_exponent(self) -> float | None:
        """gamma where every token reveals a latent."""
        return self.gamma if self._dimensions() == tuple(range(self.max_context_length + 1)) else None

    def _dimensions(self) -> tuple[int, ...]:
        """dim(0), ..., dim(L)."""
        return (0, *(self.dimension_profile or range(1, self.max_context_length + 1)))

    def bayes_risk(self, context_length: Integer) -> float:
        return self.noise_variance + self._unseen(int(self.intrinsic_dimension(context_length)))

    def _unseen(self, dimension: int) -> float:
        """Variance of the answer's terms beyond the first ``dimension`` latents."""
        return self.amplitude * (dimension + 1) ** -self.gamma

    def intrinsic_dimension(self, context_length: Integer) -> float:
        self.check_length(context_length)
        return float(self._dimensions()[context_length])

    def intrinsic_entropy(self, context_length: Integer) -> None:
        self.check_length(context_length)

    def relevant_tokens(self, examples: Examples) -> Bool[Array, "B L"]:
        """The tokens that are the first to reveal their latent."""
        first = np.diff(self._dimensions())[::-1] == 1
        return jnp.broadcast_to(jnp.asarray(first), examples.context.shape[:2])

    @in_whole_vectors
    def sample(self, key: Key, index: Index) -> Examples:
        keys, index = sample_keys(key, index)
        n = self._dimensions()[-1]
        latents = jax.vmap(lambda k: jax.random.uniform(k, (n,), jnp.float32, -1.0, 1.0))(keys)
        normal = random_normals(jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, 1), ())
        # The noise is one more term of the sum: a product of its own might be rounded otherwise inside jit.
        deviation = math.sqrt(self.noise_variance + self._unseen(n))
        values = jnp.concatenate([self._features(latents), normal[None, :]])
        target = _weighted_sum(jnp.asarray([*_teacher(self)[2], deviation], jnp.float32), values)
        shown = latents[:, np.array(self._dimensions()[:0:-1]) - 1]
        return Examples(self._embed(shown), jnp.zeros_like(index), target)

    def bayes_prediction(self, examples: Examples, context_length: ContextLength) -> Float[Array, "B"]:
        self.check_length(context_length)
        self.check_examples(examples)
        L, dimensions = self.max_context_length, np.array(self._dimensions())
        dimension = jnp.asarray(dimensions, jnp.int32)[jnp.asarray(context_length, jnp.int32)]
        nearest = L - 1 - np.flatnonzero(np.diff(dimensions))
        latents = self._decode(examples.context)[:, nearest]
        seen = jnp.arange(latents.shape[1]) < dimension
        latents = jnp.where(seen[None, :], latents, jnp.float32(0))
        weights = jnp.asarray(_teacher(self)[2], jnp.float32)
        number = jnp.asarray(_teacher(self)[3], jnp.int32)
        return _weighted_sum(jnp.where(number <= dimension, weights, jnp.float32(0)), self._features(latents))

    def _features(self, latents: Float[Array, "B n"]) -> Float[Array, "features B"]:
        frequencies, phases = (jnp.asarray(table, jnp.float32) for table in _teacher(self)[:2])

        def turn(angles: Array, term: tuple[Array, Array]) -> tuple[Array, None]:
            z, frequency = term
            return angles + frequency[:, None] * z[None, :], None

        start = jnp.zeros((len(phases), latents.shape[0]), jnp.float32)
        angles, _ = jax.lax.scan(turn, start, (latents.T, frequencies.T))
        return jnp.cos(angles + phases[:, None])

    def _embed(self, shown: Float[Array, "B L"]) -> Float[Array, "B L *A"]:
        if self.ambient_dimension == 1:
            return shown
        rotations, frequencies, phases = (jnp.asarray(table, jnp.float32) for table in _embeddings(self))

        def add(tokens: Array, term: tuple[Array, Array, Array, Array]) -> tuple[Array, None]:
            axis, frequency, phase, straight = term
            wave = jnp.cos(shown * frequency[None, :] + phase[None, :])
            coordinate = jnp.where(straight, shown, wave)
            return tokens + coordinate[:, :, None] * axis[None, :, :], None

        start = jnp.zeros((*shown.shape, self.ambient_dimension), jnp.float32)
        straight = jnp.arange(self.ambient_dimension) == 0
        terms = (jnp.moveaxis(rotations, 2, 0), frequencies.T, phases.T, straight)
        return jax.lax.scan(add, start, terms)[0]

    def _decode(self, context: Float[Array, "B L *A"]) -> Float[Array, "B L"]:
        if self.ambient_dimension == 1:
            return context
        straight = jnp.asarray(_embeddings(self)[0][:, :, 0], jnp.float32)
        return jnp.sum(context * straight[None, :, :], axis=2)


def _weighted_sum(weights: Float[Array, "n"], values: Float[Array, "n B"]) -> Float[Array, "B"]:
    """Summed in one order: a matrix product's bits depend on the size of the batch."""

    def add(total: Array, term: tuple[Array, Array]) -> tuple[Array, None]:
        weight, value = term
        return total + weight * value, None

    return jax.lax.scan(add, jnp.zeros_like(values[0]), (weights, values))[0]


@functools.lru_cache(maxsize=16)
def _teacher(task: ManifoldTeacher) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """One row per feature (i, k): frequency in each latent, phase, weight, and i. A longer task keeps the shorter's."""
    n, K = task._dimensions()[-1], task.n_frequencies
    k = np.arange(1.0, K + 1)
    frequencies, phases = np.zeros((n, K, n)), np.empty((n, K))
    increments = np.array([task._unseen(i) - task._unseen(i + 1) for i in range(n)])
    for i in range(n):
        rng = np.random.default_rng([task.seed, 0, i])
        phases[i] = rng.uniform(0, 2 * np.pi, K)
        frequencies[i, :, :i] = rng.normal(size=(K, i)) / math.sqrt(max(i, 1))
        frequencies[i, :, i] = 1
        if task.equal_slopes:
            frequencies[i, :, :i] = 0
            frequencies[i] *= np.round(np.sqrt(increments[0] / increments[i]))
    frequencies *= np.pi * k[None, :, None]
    c2 = k ** -(2 * task.smoothness + 1)
    weights = np.sqrt(2 * increments[:, None] * c2[None, :] / c2.sum())
    number = np.repeat(np.arange(1, n + 1), K)
    return frequencies.reshape(n * K, n), phases.reshape(-1), weights.reshape(-1), number


@functools.lru_cache(maxsize=16)
def _embeddings(task: ManifoldTeacher) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rotation (ambient, coordinate), frequencies and phases of the token at each place, oldest first."""
    L, A = task.max_context_length, task.ambient_dimension
    rotations, frequencies, phases = np.empty((L, A, A)), np.empty((L, A)), np.empty((L, A))
    for distance in range(1, L + 1):
        rng = np.random.default_rng([task.seed, 1, distance])
        rotations[L - distance] = np.linalg.qr(rng.normal(size=(A, A)))[0]
        frequencies[L - distance] = rng.uniform(np.pi / 2, 2 * np.pi, A)
        phases[L - distance] = rng.uniform(0, 2 * np.pi, A)
    return rotations, frequencies, phases
