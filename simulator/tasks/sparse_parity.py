"""Position-weighted multitask sparse parity: which of many XORs can be answered depends on how far one can see."""

import collections
import dataclasses
import math
from collections.abc import Sequence
from typing import Annotated

import numpy as np

from simulator.tasks.parity import MultitaskParity
from theory.checks import Count, check_integer, check_positive, each, integer
from theory.types import Integer, Scalar

_PUBLISHED_PAIRS = (
    *((21, 20), (21, 1), (21, 2), (22, 3), (22, 4), (22, 5), (23, 6), (23, 7), (24, 8), (24, 9)),
    *((25, 10), (25, 11), (26, 12), (26, 13), (27, 14), (27, 15), (28, 16), (29, 17), (30, 18), (30, 19)),
    *((31, 20), (32, 1), (33, 3), (34, 6), (35, 8), (36, 10), (37, 12), (39, 14), (40, 16), (42, 38)),
    *((43, 41), (45, 44), (47, 46), (50, 48), (52, 51), (55, 54), (58, 57), (62, 61), (66, 65), (71, 70)),
    *(
        (77, 76),
        (84, 83),
        (93, 92),
        (103, 102),
        (118, 87),
        (137, 25),
        (165, 20),
        (209, 34),
        (293, 128),
        (522, 353),
    ),
)


@dataclasses.dataclass(frozen=True)
class SparseParity(MultitaskParity):
    r"""L fair bits; the query names a task k; the answer is the XOR of that task's two bits.

    Bits are numbered by distance: bit 1 is the newest, bit L the oldest. Task k has a far and a near bit and can be
    answered once the far one is visible. Until then the answer is a fair coin; it stays one if that bit is beyond L:

        R(l) = ln 2 * sum over {k : far_k > l} of f_k,      f_k the frequency of task k.

    Worked example, pairs ((2, 1), (4, 2)), L = 3, context (oldest first) 1 0 1::

        distance    3 2 1
        context     1 0 1
        task 0      . x x    0 XOR 1 = 1, known from l = 2 on
        task 1      . x .    bit 4 is never seen: a fair coin
        R(0) = R(1) = ln 2,  R(2) = R(3) = (ln 2)/2

    ``intrinsic_dimension(l)`` is the number of distinct visible parities: the linear dimension of the smallest feature
    of the context from which every answerable query can be read linearly (distinct parities are uncorrelated).
    ``intrinsic_entropy(l)`` is ln 2 times the rank over GF(2) of the visible pairs: pairs that close a cycle are
    determined by the others and add no entropy.

    The public data of arXiv 2502.01481 v1-v3 is :meth:`paper_v1`, the Transformer data of its v4 :meth:`paper_v4`.

    Attributes:
        pairs: (far, near) of every task, 1 <= near < far; a far bit beyond L makes the task unanswerable.
        max_context_length: L.
        frequencies: relative frequency of each task. With None, tasks are equally frequent: sample i asks task i mod n.
    """

    pairs: Annotated[Sequence[Sequence[int]], each("a pair", each("a bit of a pair", integer(1)))]
    max_context_length: Count
    frequencies: Annotated[Sequence[float], each("a task's frequency", check_positive)] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.pairs:
            raise ValueError("pairs must hold at least one (far, near) pair; got none")
        for pair in self.pairs:
            if len(pair) != 2 or pair[1] >= pair[0]:
                raise ValueError(f"a pair is (far, near) with near < far; got {pair}")
        if self.frequencies is not None and len(self.frequencies) != len(self.pairs):
            raise ValueError(f"{len(self.pairs)} pairs need as many frequencies; got {len(self.frequencies)}")

    @classmethod
    def paper_v1(cls) -> "SparseParity":
        """The 50 published pairs on L = 100 bits, tasks equally frequent (public code of arXiv 2502.01481 v1-v3).

        Seven tasks have their far bit beyond L. The far bits are quantiles of a Pareto law with exponent 1.2 from 20
        on, so R(l) is about ln 2 (20/l)^1.2.
        """
        return cls(_PUBLISHED_PAIRS, 100)

    @classmethod
    def paper_v4(cls, seed: int = 0) -> "SparseParity":
        """60 bits and 100 tasks, two for each far bit 11..60, as in section 4.2 of arXiv 2502.01481 v4.

        **Inferred**: the paper's text gives neither the frequencies nor the near bits. Frequencies proportional to
        (far - 1)^-1.15 reproduce both published values, R(17) = 0.4643 and R(50) = 0.0612; near bits are drawn from
        ``seed`` and have no bearing on R.
        """
        rng = np.random.default_rng(check_integer("seed", seed, 0))
        far_bits = range(11, 61)
        pairs = [(far, int(near) + 1) for far in far_bits for near in rng.choice(far - 1, size=2, replace=False)]
        return cls(tuple(pairs), 60, tuple((far - 1) ** -1.15 for far, _ in pairs))

    @classmethod
    def pareto(
        cls, n_tasks: Integer, max_context_length: Integer, nearest: Integer, exponent: Scalar, seed: Integer = 0
    ) -> "SparseParity":
        """Far bits at the quantiles of a Pareto law, so that R(l) is about ln 2 (nearest / l)^exponent.

        far_k = floor(nearest (n / (n+1-k))^(1/exponent)) + 1 for k = 1..n, the rule behind the published pairs
        (n = 50, nearest 20, exponent 1.2). Near bits are drawn from ``seed``, without repeating a pair while the far
        bit has unused ones.

        Args:
            n_tasks: number of tasks, all equally frequent.
            max_context_length: L; far bits beyond it stay in and make up the floor R(L).
            nearest: the Pareto law's lower end; every far bit is above it.
            exponent: tail exponent gamma > 0.
            seed: seed of the near bits.
        """
        n_tasks, nearest = check_integer("n_tasks", n_tasks, 1), check_integer("nearest", nearest, 1)
        exponent = check_positive("exponent", exponent)
        rng = np.random.default_rng(check_integer("seed", seed, 0))
        if math.log(nearest) + math.log(n_tasks) / exponent > math.log(2**62):
            raise ValueError(f"exponent = {exponent} places a far bit beyond 2^62: take a larger one, or fewer tasks")
        pairs: list[tuple[int, int]] = []
        taken: set[tuple[int, int]] = set()
        used: collections.Counter[int] = collections.Counter()
        for k in range(1, n_tasks + 1):
            far = math.floor(nearest * (n_tasks / (n_tasks + 1 - k)) ** (1 / exponent)) + 1
            near = int(rng.integers(1, far))
            while (far, near) in taken and used[far] < far - 1:
                near = int(rng.integers(1, far))
            taken.add((far, near))
            used[far] += 1
            pairs.append((far, near))
        return cls(tuple(pairs), check_integer("max_context_length", max_context_length, 1))

    def subsets(self) -> tuple[tuple[int, ...], ...]:
        return tuple(tuple(pair) for pair in self.pairs)

    def relative_frequencies(self) -> tuple[float, ...] | None:
        return None if self.frequencies is None else tuple(self.frequencies)
