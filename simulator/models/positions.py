"""Rules that tell a Transformer where a token stands. Some stretch rotary positions beyond the trained length.

A rule is a frozen dataclass of plain values. It has up to four parts: frequencies that turn queries and keys, slopes of
a penalty on distance, a number of learned vectors to add to tokens, and a number of learned vectors to compare queries
with.
"""

import abc
import dataclasses
from typing import Annotated, Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from theory.checks import Checked, Count, Positive, such_that


class Positions(Checked):
    """The base class of position rules. Its own rule gives attention no positions; subclasses override parts of it."""

    def check(self, head_width: int, n_heads: int) -> None:
        """Raise ValueError if the rule cannot serve this number of heads of this width."""

    def frequencies(self, head_width: int, length: Int[Array, ""]) -> Float[Array, "pairs"] | None:
        """Radians per token by which each pair of a head turns in a context of this length. None turns nothing."""
        return None

    @property
    def magnitude(self) -> float:
        """Factor of cosines and sines. It multiplies attention logits by its square."""
        return 1.0

    def slopes(self, n_heads: int) -> Float[np.ndarray, "H"] | None:
        """How much each token of distance reduces a logit of each head. None reduces nothing."""
        return None

    @property
    def n_learned(self) -> int:
        """Number of positions that have a learned vector."""
        return 0

    @property
    def n_distances(self) -> int:
        """Number of distances, counted from 0, that have a learned vector in each head of keys."""
        return 0


@dataclasses.dataclass(frozen=True)
class NoPositions(Positions):
    """No positions (NoPE). Only the causal mask gives order (Kazemnejad et al. 2023, arXiv 2305.19466)."""


@dataclasses.dataclass(frozen=True)
class RoPE(Positions):
    """Rotary positions: pair i of query and key at position m turns by m theta_i, theta_i = base^(-2i/K).

    Pair i of a head of width K consists of its components i and i + K/2. A logit depends only on the difference of
    positions (Su et al. 2021, arXiv 2104.09864). With ``fraction`` p < 1 only the p K/2 fastest pairs turn (p-RoPE,
    Barbero et al. 2024, arXiv 2410.06205).

    Attributes:
        base: base of the frequencies: 10,000 in the original, 500,000 in Llama 3, 4,000 in arXiv 2502.01481 v4.
        fraction: share of the pairs that turn.
    """

    base: Positive = 10_000.0
    fraction: Positive = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.base <= 1 or self.fraction > 1:
            raise ValueError(f"RoPE needs base > 1 and a fraction in (0, 1]; got {self.base} and {self.fraction}")

    def check(self, head_width: int, n_heads: int) -> None:
        if head_width % 2:
            raise ValueError(
                f"{type(self).__name__} turns pairs of components and needs heads of even width; got {head_width}: "
                "change width or heads, or take NoPositions()"
            )

    def unstretched(self, head_width: int) -> Float[np.ndarray, "pairs"]:
        """The frequencies theta_i, with 0 for the pairs that do not turn."""
        theta = self.base ** (-2 * np.arange(head_width // 2) / head_width)
        return np.where(np.arange(head_width // 2) < round(self.fraction * (head_width // 2)), theta, 0.0)

    def divisors(self, head_width: int) -> Float[np.ndarray, "pairs"]:
        """Divisors of the frequencies. Larger ones reach further."""
        return np.ones(head_width // 2)

    def frequencies(self, head_width: int, length: Int[Array, ""]) -> Float[Array, "pairs"]:
        return jnp.asarray(self.unstretched(head_width) / self.divisors(head_width), jnp.float32)


@dataclasses.dataclass(frozen=True)
class RelativeRoPE(RoPE):
    """Rotary positions, and a learned vector for each distance: q_i . a_(i-j) is added to q_i . k_j.

    The vectors are those that Shaw et al. 2018 (arXiv 1803.02155, eq. 4) add to keys. Each head of keys has its own
    set. The vectors do not turn: they are compared with the queries before these are turned.

    Attributes:
        max_length: number of distances that have a vector: the tokens of the context, and one for the query or the
            start token.
    """

    max_length: Count = 1024

    @property
    def n_distances(self) -> int:
        return self.max_length


@dataclasses.dataclass(frozen=True)
class _Stretched(RoPE):
    """Rotary positions stretched by a factor.

    Attributes:
        scale: s, the new length divided by the trained length.
    """

    scale: Annotated[Positive, such_that(lambda s: s >= 1, "is new length over trained length and at least 1")] = 1.0


@dataclasses.dataclass(frozen=True)
class PositionInterpolation(_Stretched):
    """Position interpolation: every frequency is divided by s (Chen et al. 2023, arXiv 2306.15595)."""

    def divisors(self, head_width: int) -> Float[np.ndarray, "pairs"]:
        return np.full(head_width // 2, self.scale)


@dataclasses.dataclass(frozen=True)
class NTKAware(_Stretched):
    """Rotary positions with base s^(K/(K-2)) in place of the base (described in arXiv 2309.00071).

    The fastest pair keeps its frequency, and the slowest is divided by s.
    """

    def check(self, head_width: int, n_heads: int) -> None:
        super().check(head_width, n_heads)
        if head_width < 4:
            raise ValueError(f"{type(self).__name__} needs heads of width 4 or more; got {head_width}")

    def divisors(self, head_width: int) -> Float[np.ndarray, "pairs"]:
        return self.scale ** (2 * np.arange(head_width // 2) / (head_width - 2))


@dataclasses.dataclass(frozen=True)
class DynamicNTK(RoPE):
    """NTK-aware positions with s = max(1, length / trained length) of each context. They need no training.

    Attributes:
        trained_length: number of trained positions, including that of the query or the start token.
    """

    trained_length: Count = 1

    def check(self, head_width: int, n_heads: int) -> None:
        NTKAware().check(head_width, n_heads)

    def frequencies(self, head_width: int, length: Int[Array, ""]) -> Float[Array, "pairs"]:
        scale = jnp.maximum(1.0, jnp.asarray(length, jnp.float32) / self.trained_length)
        exponents = np.asarray(2 * np.arange(head_width // 2) / (head_width - 2), np.float32)
        return jnp.asarray(self.unstretched(head_width), jnp.float32) / scale**exponents


@dataclasses.dataclass(frozen=True)
class _ByParts(_Stretched):
    """A rule that keeps fast pairs, divides slow pairs by s, and takes a ramp between them.

    Attributes:
        trained_length: L, number of trained positions, including that of the query or the start token. A pair is fast
            or slow by its number of turns in this length, r_i = L theta_i / 2 pi.
    """

    trained_length: Count = 2048

    @abc.abstractmethod
    def kept(self, head_width: int) -> Float[np.ndarray, "pairs"]:
        """Share of each frequency that stays: 1 for fast pairs, and 0 for slow pairs."""

    def turns(self, head_width: int) -> Float[np.ndarray, "pairs"]:
        """Number of turns r_i that each pair makes in the trained length."""
        return self.trained_length * self.base ** (-2 * np.arange(head_width // 2) / head_width) / (2 * np.pi)

    def divisors(self, head_width: int) -> Float[np.ndarray, "pairs"]:
        kept = self.kept(head_width)
        return 1 / (kept + (1 - kept) / self.scale)


@dataclasses.dataclass(frozen=True)
class YaRN(_ByParts):
    """YaRN: NTK-by-parts with a temperature (Peng et al. 2023, arXiv 2309.00071).

    theta_i' = (1 - g) theta_i / s + g theta_i, where g(r_i) rises from 0 at r = alpha to 1 at r = beta. In the paper g
    is linear in r. In the released code g is linear in the pair's index between floor(d(beta)) and ceil(d(alpha)), with
    d(n) = K ln(L / 2 pi n) / (2 ln base). With ``temperature`` cosines and sines are multiplied by 0.1 ln s + 1.

    Attributes:
        alpha: turns below which a pair is slow.
        beta: turns above which a pair is fast.
        ramp: where g is linear, ``"paper"`` or ``"code"``.
        temperature: whether the temperature is used. False gives plain NTK-by-parts.
    """

    alpha: Positive = 1.0
    beta: Positive = 32.0
    ramp: Literal["paper", "code"] = "paper"
    temperature: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.alpha >= self.beta:
            raise ValueError(f"alpha must be below beta; got {self.alpha} and {self.beta}")

    def kept(self, head_width: int) -> Float[np.ndarray, "pairs"]:
        if self.ramp == "paper":
            return np.clip((self.turns(head_width) - self.alpha) / (self.beta - self.alpha), 0, 1)

        def index(turns: float) -> float:
            return head_width * np.log(self.trained_length / (2 * np.pi * turns)) / (2 * np.log(self.base))

        low, high = max(np.floor(index(self.beta)), 0), min(np.ceil(index(self.alpha)), head_width - 1)
        return 1 - np.clip((np.arange(head_width // 2) - low) / max(high - low, 1e-3), 0, 1)

    @property
    def magnitude(self) -> float:
        return 0.1 * float(np.log(self.scale)) + 1 if self.temperature else 1.0


@dataclasses.dataclass(frozen=True)
class Llama3Scaling(_ByParts):
    """The rule of Llama 3.1. Pairs of more than ``high`` turns stay, and pairs of less than ``low`` are divided by s.

    Between the two, the share (r - low) / (high - low) of the frequency stays.

    Attributes:
        low: turns below which a pair is slow.
        high: turns above which a pair is fast.
    """

    low: Positive = 1.0
    high: Positive = 4.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.low >= self.high:
            raise ValueError(f"low must be below high; got {self.low} and {self.high}")

    def kept(self, head_width: int) -> Float[np.ndarray, "pairs"]:
        return np.clip((self.turns(head_width) - self.low) / (self.high - self.low), 0, 1)


@dataclasses.dataclass(frozen=True)
class ALiBi(Positions):
    """A penalty on distance: the logit of head h is reduced by m_h (i - j), with m_h = 2^(-8h/H) and h = 1..H.

    The paper gives these slopes for H a power of two (Press, Smith and Lewis 2021, arXiv 2108.12409).
    """

    def check(self, head_width: int, n_heads: int) -> None:
        if n_heads & (n_heads - 1):
            raise ValueError(f"ALiBi's slopes are given for a power of two of heads; got {n_heads}")

    def slopes(self, n_heads: int) -> Float[np.ndarray, "H"]:
        return 2.0 ** (-8 * np.arange(1, n_heads + 1) / n_heads)


@dataclasses.dataclass(frozen=True)
class LearnedPositions(Positions):
    """A learned vector for each position, which is added to the token's vector.

    Attributes:
        max_length: number of positions that have a vector: the tokens of the context, and one for the query or the
            start token.
    """

    max_length: Count = 1024

    @property
    def n_learned(self) -> int:
        return self.max_length


def turned(
    vectors: Float[Array, "B n H K"],
    positions: Int[Array, "t"],
    frequencies: Float[Array, "pairs"],
    magnitude: float,
) -> Float[Array, "B n H K"]:
    """The vectors with each pair (i, i + K/2) turned by position times frequency.

    All vectors may have the same position, t = 1.
    """
    angles = positions.astype(jnp.float32)[:, None] * frequencies[None, :]
    cosines, sines = (magnitude * f(angles)[None, :, None, :] for f in (jnp.cos, jnp.sin))
    first, second = jnp.split(vectors, 2, axis=-1)
    return jnp.concatenate([first * cosines - second * sines, second * cosines + first * sines], axis=-1)
