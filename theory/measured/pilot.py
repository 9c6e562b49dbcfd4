"""What is known before a design: laws, truth and the scatter of seeds; and tables simulated from them."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float

from theory.laws.base import Law, Truth
from theory.measured.adequacy import judge
from theory.measured.fitting import unit_of
from theory.measured.loss_table import (
    LossTableError,
    check_loss_table,
    check_unit,
    risk_known,
    seed_losses,
    truth_of,
)
from theory.measured.scatter import Grid, SeedNoise
from theory.measured.verdict import outcome_of
from theory.measured.weighted_fit import TOLERANCE, LossCells, best_fits, cells_of, noise_of, weighted_fits
from theory.types import Array

OUTCOMES = ("told apart", "named", "wrong", "undecided", "none")
"""The true law is told apart; the verdict names it, or names another (wrong), or is undecided, or is "none"."""
_REPLICATES = 99
"""Simulated tables behind each p-value, half as many as a verdict has."""
_MANY = 64
"""Seeds of the table from which weights are taken."""
SAME = 1e-5
"""Laws that differ by less, in units of U, are practically the same."""
_HIGHEST = 1.3
"""Largest gap of a simulated loss, in units of the ceiling R(0) - R(l), where R(l) is known."""


@dataclasses.dataclass(frozen=True, eq=False)
class Pilot:
    """What is known before: laws with their constants, the truth of the task, a first grid and the scatter of seeds.

    :meth:`measured` takes all of it from a table. Without a table::

        laws = PowerLaw(0.02, 0.9, 0.5), SaturatingLaw(60.0, 0.9, 0.9)
        Pilot(laws, (truth, truth), lengths, sizes, SeedNoise.proportional(0.15, along_length=0.8))

    Attributes:
        laws: at least two.
        truths: R(l) and dim(l) under each law.
        context_lengths, dataset_sizes: the grid from which others are made.
        noise: the scatter of single runs.
        risk_known: whether R(l) is exact. If not, a verdict fits it anew.
    """

    laws: tuple[Law, ...]
    truths: tuple[Truth, ...]
    context_lengths: tuple[int, ...]
    dataset_sizes: tuple[int, ...]
    noise: SeedNoise
    risk_known: bool = True

    def __post_init__(self) -> None:
        _check_laws(self.laws)
        if len(self.truths) != len(self.laws):
            raise ValueError(f"each of the {len(self.laws)} laws needs a truth; got {len(self.truths)}")

    @classmethod
    def measured(cls, results: xr.Dataset, laws: Sequence[Law]) -> "Pilot":
        """The laws fitted to a table, as :func:`theory.compare` takes it, and the scatter of its seeds.

        Raises:
            LossTableError: the table has one seed, seeds that do not differ, or too few cells.
        """
        _check_laws(laws)
        table = check_loss_table(results, "loss")
        for law in laws:
            check_unit(table, law)
        lengths, sizes = (table.indexes[axis].to_numpy() for axis in ("context_length", "dataset_size"))
        cells = cells_of(seed_losses(table), lengths, sizes, truth_of(table), risk_known=risk_known(table))
        if not cells.has_scatter:
            raise LossTableError(
                f"a pilot needs at least two seeds that differ, to see their scatter; this table has "
                f"{table.sizes['seed']}: run it again with seeds=2 or more"
            )
        found = weighted_fits(best_fits(laws, cells), cells)
        noise = noise_of(cells, found.laws[found.best])
        return cls(found.laws, found.truths, tuple(lengths.tolist()), tuple(sizes.tolist()), noise, cells.risk_known)

    def cells(
        self, true: int, grid: tuple[Sequence[int], Sequence[int]], losses: Float[Array, "l D seed"]
    ) -> LossCells:
        """These losses on a grid of context lengths and dataset sizes, with the R(l) of one law."""
        lengths, sizes = map(np.array, grid)
        return cells_of(losses, lengths, sizes, self.truths[true], risk_known=self.risk_known)


def _check_laws(laws: Sequence[Law]) -> None:
    names = [law.name for law in laws]
    if len(names) < 2 or len(set(names)) != len(names):
        raise ValueError(f"a design tells laws apart: give at least two with distinct names; got {names}")


@dataclasses.dataclass(frozen=True)
class Simulation:
    """Tables of one grid under one law.

    Attributes:
        noise: the scatter of single runs.
        exact: the noise-free losses.
        gap: the approximation loss of each cell, in units of U.
        starts: all laws, fitted to the noise-free losses.
    """

    noise: SeedNoise
    exact: LossCells
    gap: Float[Array, "cells"]
    starts: tuple[Law, ...]

    @classmethod
    def of(cls, pilot: Pilot, true: int, lengths: tuple[int, ...], sizes: tuple[int, ...]) -> "Simulation":
        law, truth = pilot.laws[true], pilot.truths[true]
        length, size = np.array(lengths)[:, None], np.array(sizes, np.float64)[None, :]
        gap = law.approximation_loss(length, size, truth)
        if pilot.risk_known:
            gap = np.minimum(gap, _HIGHEST * truth.largest_gap(length))
        losses = truth.bayes_risk[length] + gap
        exact = pilot.cells(true, (lengths, sizes), losses[:, :, None])
        return cls(pilot.noise, exact, gap.ravel() / unit_of(truth), tuple(best_fits(pilot.laws, exact)))

    def table(self, seeds: int, rng: np.random.Generator) -> LossCells:
        """A simulated table."""
        grid = self._grid(seeds)
        return dataclasses.replace(self.exact, grid=grid, losses=self.exact.losses + self._noise(grid, rng))

    def distances(self, seeds: int) -> Float[Array, "law"]:
        """d of each law, by the weights that a verdict from so many seeds would use."""
        # Many seeds around exact means, scaled so that the means scatter as those of the seeds asked for.
        grid, cells = self._grid(_MANY), self.exact
        scatter = grid.deviations(self._noise(grid, np.random.default_rng(0))) * np.sqrt(_MANY / seeds)
        found = weighted_fits(self.starts, dataclasses.replace(cells, grid=grid, losses=cells.losses + scatter))
        covariance = self.noise.correlation(grid) / seeds
        covariance *= np.sqrt(np.outer(*[self.noise.variance(grid, self.gap)] * 2))
        covariance += SAME**2 * np.eye(len(covariance))
        weight = np.linalg.inv(covariance + TOLERANCE**2 * (np.eye(len(covariance)) + 1))
        misses = np.array([self._miss(law, truth) for law, truth in zip(found.laws, found.truths, strict=True)])
        weighted = misses @ weight
        scale = np.sqrt(np.einsum("li,ij,lj->l", weighted, covariance, weighted))
        return np.sum(misses * weighted, axis=1) / np.maximum(scale, np.finfo(np.float64).tiny)

    def outcomes(self, true: int, seeds: int, rng: np.random.Generator) -> tuple[bool, ...]:
        """Whether a simulated table has each of :data:`OUTCOMES`, where law number ``true`` is the true one."""
        found = judge(self.starts, self.table(seeds, rng), replicates=_REPLICATES)
        said, laws = outcome_of(found.p_adequate, found.p_exact, found.p_equal)
        told = outcome_of(found.p_adequate, np.ones_like(found.p_exact), found.p_equal) == ("law", (true,))
        named = said == "law" and laws == (true,)
        return told, named, said == "law" and not named, said == "undecided", said == "none"

    def largest_miss(self, index: int) -> float:
        """The largest difference of a law, fitted to the noise-free losses, from these, in units of U."""
        return float(np.abs(self._miss(self.starts[index], self.exact.truth)).max())

    def _miss(self, law: Law, truth: Truth) -> Float[Array, "cells"]:
        """The losses of a law less the noise-free ones, in units of U; none where both say that nothing is learned."""
        length, size, known = self.exact.grid.length, self.exact.grid.size, self.exact.truth
        ceiling = known.bayes_risk[0] if self.exact.risk_known else np.inf
        losses = (np.minimum(of, ceiling) for of in (law.loss(length, size, truth), self.exact.mean))
        return np.subtract(*losses) / unit_of(known)

    def _grid(self, seeds: int) -> Grid:
        return dataclasses.replace(self.exact.grid, present=np.ones((len(self.gap), seeds), bool))

    def _noise(self, grid: Grid, rng: np.random.Generator) -> Float[Array, "cells seed"]:
        return self.noise.draw(grid, self.gap, rng) * unit_of(self.exact.truth)
