"""Which law a comparison speaks for, which it cannot tell apart, or that none of them is right."""

import dataclasses
from typing import Literal

import numpy as np
import xarray as xr
from jaxtyping import Float

from theory.types import Array

STAYS = "l* stays"
"""Name of the baseline without a theory: l* stays what it was at the largest fitted dataset size."""
FEWEST_SIZES = 4
"""Fewest dataset sizes, and fewest context lengths, for a verdict."""
REJECTED = 0.02
"""A law is rejected if its p-value, to within the tolerance, is at most this."""
EXACT = 0.35
"""A law is named only if its p-value without a tolerance is above this. Otherwise it is doubtful."""
EQUAL = 0.05
"""A law is named only if this is the largest p-value of equal merit with any other."""
_MORE_IS_NEEDED = (
    "R(l) is estimated from the same losses: the losses of a far larger model at these lengths, or larger dataset "
    "sizes, would tell more"
)


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What a comparison says of the laws.

    Attributes:
        outcome: "law" (one law is adequate, and every other predicts worse), "undecided" (several laws, or a doubtful
            one, could be true) or "none" (every law is rejected).
        laws: the law; where nothing is decided, the laws that are not rejected, best first; or none.
        reason: the numbers behind it.
        since: the dataset size from which on the verdict has been the same, each time by the sizes up to there; None
            if it was not reached.
    """

    outcome: Literal["law", "undecided", "none"]
    laws: tuple[str, ...]
    reason: str
    since: int | None = None

    @property
    def decided(self) -> bool:
        """Whether one law is named."""
        return self.outcome == "law"

    def __str__(self) -> str:
        said = {"law": self.laws[0] if self.laws else "", "undecided": "undecided", "none": "none of these laws"}
        stable = f"; the same since D = {self.since:,}" if self.since is not None else ""
        return f"{said[self.outcome]}: {self.reason}{stable}"


def verdict(comparison: xr.Dataset) -> Verdict:
    """One law, several that cannot be told apart, or none, from the tests of :func:`theory.compare`.

    - A law is *rejected* where its p-value ``p_adequate`` is at most 0.02: neither the scatter of the seeds nor the
      tolerance explains what it misses.
    - None of the laws is right if all are rejected.
    - One law is named if its ``p_exact`` is above 0.35, so that no misfit is to be seen, and equal merit with every
      other law is rejected at 5 %.
    - Otherwise nothing is decided: the laws that are not rejected cannot be told apart, or the best one is doubtful.

    The three levels were chosen on simulated tables, so that a wrong law, or none, is named in about one table of ten
    at most, whether the true law is offered or not. The shares that were measured, and for which designs, stand in
    ``tests/benchmarks/measured.txt`` (``python -m tests.benchmarks.calibration``). The verdict is undecided, whatever
    the p-values, with a single seed, with fewer than four context lengths or dataset sizes, and where losses lie far
    below R(l).
    """
    laws = comparison.sel(law=comparison["law"] != STAYS)
    names = tuple(laws["law"].values.tolist())
    p_adequate, p_exact, p_equal = (laws[name].values for name in ("p_adequate", "p_exact", "p_equal"))
    lacking = _lacking(comparison, p_adequate[:, -1])
    if lacking:
        return Verdict("undecided", names, lacking)
    every = [outcome_of(p_adequate[:, j], p_exact[:, j], p_equal[:, j]) for j in range(p_adequate.shape[1])]
    outcome, chosen = every[-1]
    first = max((j + 1 for j, found in enumerate(every) if found != every[-1]), default=0)
    since = int(comparison["dataset_size"].values[first]) if outcome != "undecided" else None
    best = int(np.argmax(p_equal[:, -1]))
    ranked = np.argsort(np.where(np.arange(len(names)) == best, -np.inf, laws["misfit"].values), kind="stable")
    described = _described(laws.isel(law=ranked, dataset_size=-1))
    if outcome == "none":
        return Verdict("none", (), f"every law is rejected (p <= {REJECTED}); nearest: {described}", since)
    if outcome == "law":
        return Verdict("law", (names[best],), described, since)
    left = tuple(names[i] for i in ranked if i in chosen)
    better = left[0] == names[best] and np.all(np.delete(p_equal[:, -1], best) <= EQUAL)
    told = f"{' and '.join(left)} cannot be told apart"
    if len(left) == 1 or better:
        told = f"{left[0]} is doubtful" + (", but better than every other law" if len(left) > 1 else "")
    hint = "" if comparison.attrs.get("risk_known", 1) else f"; {_MORE_IS_NEEDED}"
    return Verdict("undecided", left, f"{told} ({described}){hint}")


def _lacking(comparison: xr.Dataset, p_adequate: Float[Array, "law"]) -> str:
    """Why nothing can be decided, whatever the numbers; empty if it can."""
    shape = comparison.attrs.get("n_lengths", FEWEST_SIZES), comparison.sizes["dataset_size"]
    if min(shape) < FEWEST_SIZES:
        return (
            f"{shape[0]} context lengths and {shape[1]} dataset sizes are too few to tell laws apart: give at least "
            f"{FEWEST_SIZES} of each"
        )
    if comparison.attrs.get("below_risk", 0.0) > 10 * comparison.attrs.get("tolerance", np.inf):
        return (
            f"losses lie below the Bayes risk, by up to {comparison.attrs['below_risk']:.2g} of R(0) - R(L): R(l) is "
            "too high, or in another unit"
        )
    if np.isnan(p_adequate).any():
        return (
            "without seeds that differ there is no scatter to judge a misfit by: give at least two seeds"
            if comparison.attrs["n_seeds"] == 1 or np.isnan(p_adequate).all()
            else "too few cells for the constants of the laws"
        )
    return ""


def outcome_of(
    p_adequate: Float[Array, "law"], p_exact: Float[Array, "law"], p_equal: Float[Array, "law"]
) -> tuple[Literal["law", "undecided", "none"], tuple[int, ...]]:
    """The outcome by p-values, and the laws it is about."""
    if np.isnan(p_adequate).any():
        return "undecided", ()
    possible = tuple(int(i) for i in np.flatnonzero(p_adequate > REJECTED))
    if not possible:
        return "none", ()
    best = int(np.argmax(p_equal))
    others = np.delete(p_equal, best)
    if best in possible and p_exact[best] > EXACT and np.all(others <= EQUAL):
        return "law", (best,)
    return "undecided", possible


def _described(ranked: xr.Dataset) -> str:
    """The numbers of the best law and of the next."""
    names, misfit = ranked["law"].values, ranked["misfit"].values
    p_adequate, p_exact, p_equal = (ranked[name].values for name in ("p_adequate", "p_exact", "p_equal"))
    said = (
        f"{names[0]}: misfit {misfit[0]:.3g} per degree of freedom, p = {p_exact[0]:.3f} exactly and "
        f"{p_adequate[0]:.3f} within the tolerance"
    )
    if len(names) > 1:
        said += (
            f"; next {names[1]}: {misfit[1]:.3g}, p = {p_adequate[1]:.3f} within the tolerance, of equal merit "
            f"p = {p_equal[1]:.3f}"
        )
    return said
