"""Multitask parity with Zipf frequencies and power-law distances: quanta of knowledge, to be learned one by one."""

import dataclasses
import functools
import math
from typing import Annotated, Literal

import numpy as np
from jaxtyping import Float

from simulator.tasks.parity import MultitaskParity
from theory.checks import Count, Positive, check_integer, integer, set_fields
from theory.types import Integer


@dataclasses.dataclass(frozen=True)
class ZipfQuanta(MultitaskParity):
    r"""Michaud et al.'s multitask sparse parity (arXiv 2303.13506), with a distance for every task.

    Task k = 1..n, of frequency p_k ~ k^-(1+alpha), asks for the XOR of its own subset of fair bits (three there). The
    far bits have distances of a power law, the others are drawn nearer. With a = distance_exponent, ``distances``:

        ``"independent"``  quantiles nearest (n/i)^(1/a), i = 1..n, shuffled among the tasks: on average over seeds
                           R(l)/R(0) = (nearest/l)^a, whatever alpha;
        ``"coupled"``      rarer tasks lie farther back, far_k = nearest k^(1/a): R(l) ~ l^-(alpha a).

    A learner that has learned the n' most frequent tasks, and answers the others by a coin, has the loss

        L(n', l) = ln 2 (sum over {k <= n', far_k > l} of p_k + sum over {k > n'} of p_k),

    :meth:`loss_with_quanta`; with every distance in sight it falls like n'^-alpha.

    Worked example, two tasks of two bits, subsets (2, 1) and (4, 3), p = (0.7, 0.3)::

        distance    4 3 2 1
        context     1 0 0 1
        task 1      . . x x    0 XOR 1 = 1, known from l = 2 on: R(2) = 0.3 ln 2
        task 2      x x . .    1 XOR 0 = 1, known from l = 4 on: R(4) = 0

    ``intrinsic_dimension(l)`` is the number of distinct visible parities, ``intrinsic_entropy(l)`` is ln 2 times their
    rank over GF(2), as for :class:`SparseParity`.

    Attributes:
        n_tasks: n.
        max_context_length: L.
        alpha: exponent of the quanta; frequencies fall with 1 + alpha.
        distance_exponent: exponent of the law of far bits.
        nearest: lower end of that law. It is at least ``bits_per_task`` - 1, so that there is room for the other bits.
        bits_per_task: bits of a subset, at least two.
        distances: ``"independent"`` or ``"coupled"``.
        seed: seed of the subsets.
    """

    n_tasks: Annotated[int, integer(1, 2**20)]
    max_context_length: Count
    alpha: Positive
    distance_exponent: Positive
    nearest: int = 3
    bits_per_task: Annotated[int, integer(2)] = 3
    distances: Literal["independent", "coupled"] = "independent"
    seed: Annotated[int, integer(0)] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        set_fields(self, nearest=check_integer("nearest", self.nearest, self.bits_per_task - 1))
        if math.log(self.nearest) + math.log(self.n_tasks) / self.distance_exponent > math.log(2**62):
            raise ValueError(
                f"distance_exponent = {self.distance_exponent} places a far bit beyond 2^62: take a larger one, or "
                f"fewer tasks than n_tasks = {self.n_tasks}"
            )

    @property
    def risk_exponent(self) -> float | None:
        """The exponent of R(l) above; it holds until the farthest task is in sight."""
        return self.distance_exponent * (self.alpha if self.distances == "coupled" else 1.0)

    def subsets(self) -> tuple[tuple[int, ...], ...]:
        return _subsets(self)

    def relative_frequencies(self) -> tuple[float, ...]:
        return tuple(_frequencies(self.n_tasks, self.alpha))

    def loss_with_quanta(self, n_learned: Integer, context_length: Integer) -> float:
        """L(n', l): loss in nats when the n' most frequent tasks are learned."""
        self.check_length(context_length)
        n_learned = check_integer("n_learned", n_learned, 0, self.n_tasks)
        hidden = np.array([subset[0] > context_length for subset in self.subsets()])
        unlearned = np.arange(self.n_tasks) >= n_learned
        return math.log(2) * math.fsum(self.task_frequencies()[hidden | unlearned])


def _frequencies(n_tasks: int, alpha: float) -> Float[np.ndarray, "tasks"]:
    return np.arange(1.0, n_tasks + 1) ** -(1 + alpha)


@functools.lru_cache(maxsize=16)
def _subsets(task: ZipfQuanta) -> tuple[tuple[int, ...], ...]:
    rng = np.random.default_rng(task.seed)
    n, steepness = task.n_tasks, 1 / task.distance_exponent
    if task.distances == "coupled":
        far_bits = [math.floor(task.nearest * k**steepness) + 1 for k in range(1, n + 1)]
    else:
        ordered = [math.floor(task.nearest * (n / k) ** steepness) + 1 for k in range(1, n + 1)]
        far_bits = [ordered[i] for i in rng.permutation(n)]

    def nearer(far: int) -> set[int]:
        drawn: set[int] = set()
        while len(drawn) < task.bits_per_task - 1:
            drawn.add(int(rng.integers(1, far)))
        return drawn

    return tuple((far, *sorted(nearer(far), reverse=True)) for far in far_bits)
