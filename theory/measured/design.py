"""Which grid and how many seeds tell laws apart? Answered by simulation, before anything is trained.

Every law in turn is the truth. Tables are simulated from it on a grid, with seeds that scatter as those of a pilot, and
judged as :func:`theory.compare` judges a measured table. The law is *told apart* if it is not rejected and equal merit
with every other law is rejected. That is all that :func:`theory.verdict` asks before it names a law, except that no
misfit may be seen (``p_exact`` above 0.35). A true law fails this last condition by
chance, in up to half of the simulated tables. So a law is named less often than it is told apart, and more seeds do
not help.

A design is simulated only where it can succeed. Let the noise-free losses of the truth lie d standard errors from the
best fit of a rival, all cells together. Then the difference of the two misfits is normal, with mean d^2 and standard
deviation 2d. Half-way between the laws its mean is 0. So, with a known scatter, equal merit is rejected at the level
alpha with probability Phi(d/2 - z), where Phi(-z) = alpha; and d^2 grows in proportion to the number of seeds.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float
from scipy.stats import binomtest, norm
from tqdm.auto import tqdm

from theory.checks import check_choice, check_integer, check_positive
from theory.measured.intervals import check_level
from theory.measured.loss_table import LossTableError
from theory.measured.pilot import OUTCOMES, SAME, Pilot, Simulation
from theory.measured.verdict import EQUAL, EXACT, FEWEST_SIZES
from theory.measured.weighted_fit import can_be_judged
from theory.types import Integer

GOALS = ("told apart", "named")
"""What a design may be for."""
COSTS = ("runs", "tokens")
"""What may count as the cost of a design."""
SEEDS = (2, 4, 8, 16, 32)
"""Numbers of seeds that are tried."""
DOUBLINGS = 3
"""How often the largest dataset size is doubled at most."""
_FEW_SIZES = 8
"""A pilot with fewer dataset sizes gets more between them; with as many, more seeds do the same."""
STAGES = (20, 60, 200)
"""Numbers of simulated tables after which a simulation may end."""
_SURE = 0.9
"""Level of the two-sided interval of a share by which a simulation ends early."""
_SLACK = 1.0
"""A design is simulated if its laws lie at most this many standard errors nearer than needed."""


@dataclasses.dataclass(frozen=True)
class Design:
    """A grid of runs.

    Attributes:
        context_lengths, dataset_sizes: the axes of the grid.
        seeds: runs of each cell.
    """

    context_lengths: tuple[int, ...]
    dataset_sizes: tuple[int, ...]
    seeds: int

    @property
    def runs(self) -> int:
        """Number of runs."""
        return len(self.context_lengths) * len(self.dataset_sizes) * self.seeds

    @property
    def tokens(self) -> int:
        """Tokens of the training sets of all runs: the sum of l D."""
        return sum(self.context_lengths) * sum(self.dataset_sizes) * self.seeds

    def __str__(self) -> str:
        lengths, sizes = (", ".join(f"{n:,}" for n in axis) for axis in (self.context_lengths, self.dataset_sizes))
        return f"{self.seeds} seeds, l = {lengths}, D = {sizes}: {self.runs:,} runs, {self.tokens:,} tokens"


@dataclasses.dataclass(frozen=True)
class Advice:
    """The cheapest design that does what was asked, or why there is none.

    Attributes:
        design: the design; None if no design that was tried does it.
        reason: the numbers behind it.
        tried: a Dataset over (design, truth), cheapest design first. ``share`` over (design, truth, outcome) holds the
            share of simulated tables in which the true law was told apart, or named, or another law named (wrong), or
            the verdict was undecided, or none; ``error`` its standard error. ``tables`` is the number of tables, 0
            where an earlier law had failed. ``rival`` is the law nearest to the truth, and
            ``distance`` its d. ``seeds``, ``runs``, ``tokens``, ``context_lengths`` and
            ``dataset_sizes`` describe each design.
    """

    design: Design | None
    reason: str
    tried: xr.Dataset

    def __str__(self) -> str:
        lines = [
            f"{'runs':>7} {'seeds':>5} {'l':>3} {'D':>3}  {'largest D':>11}  {'truth':<24} told apart  named  wrong"
        ]
        for _, of_design in self.tried.groupby("design"):
            row = of_design.squeeze("design")
            sizes = row["dataset_sizes"].item().split()
            start = (
                f"{row['runs'].item():>7,} {row['seeds'].item():>5} {len(row['context_lengths'].item().split()):>3} "
                f"{len(sizes):>3}  {int(sizes[-1]):>11,}"
            )
            for truth in row["truth"].values[row["tables"].values > 0]:
                share, error = (row[name].sel(truth=truth) for name in ("share", "error"))
                told, named, wrong = (float(share.sel(outcome=name)) for name in OUTCOMES[:3])
                lines.append(
                    f"{start}  {truth:<24} {told:.2f} ± {float(error.sel(outcome='told apart')):.2f}  {named:>5.2f}  "
                    f"{wrong:>5.2f}"
                )
                start = " " * len(start)
        return "\n".join([*lines, "", self.reason])


def design(
    pilot: Pilot,
    *,
    probability: float = 0.9,
    goal: str = "told apart",
    budget: int | None = None,
    cost: str = "runs",
    seed: int = 0,
    progress: bool = True,
) -> Advice:
    """The cheapest design that tells the laws apart, whichever of them is true, with a given probability.

    These are tried: 2, 4, 8, 16 and 32 seeds; every context length of the pilot, and every second one; every dataset
    size, and every second one, each continued by up to three doublings; and every size with one more between neighbours
    where the pilot has fewer than eight.

    The probability holds if one of the laws is true with the constants of the pilot, continued beyond its grid, and
    seeds scatter normally. With log-normal noise of a known size, four shares were found within 0.04 of those stated,
    none of them lower. With pilots of four seeds, three were within 0.04 and one was 0.08 lower
    (``tests/benchmarks/measured.txt``).

    Args:
        pilot: the laws, the truth, the first grid and the scatter.
        probability: smallest share of tables that must be told apart, or named, under each law.
        goal: "told apart", or "named": :func:`theory.verdict` names the true law.
        budget: the largest cost of a design; None for no limit.
        cost: what counts: the number of runs, or the tokens of all training sets.
        seed: seed of the simulation.
        progress: show a bar.

    Raises:
        ValueError: the budget is too small for any design.
        LossTableError: the pilot has too few context lengths or dataset sizes for the constants of the laws.
    """
    check_level(probability)
    check_choice("goal", goal, GOALS)
    check_choice("cost", cost, COSTS)
    designs = sorted(_designs(pilot), key=lambda d: (getattr(d, cost), d.tokens))
    if not designs:
        raise LossTableError(
            f"no grid made from {len(pilot.context_lengths)} context lengths and {len(pilot.dataset_sizes)} dataset "
            f"sizes has {FEWEST_SIZES} of each and more cells than constants: give a pilot with more"
        )
    if budget is not None and getattr(designs[0], cost) > check_positive("budget", budget):
        raise ValueError(f"a budget of {budget:,} {cost} is too small for any design: the smallest is {designs[0]}")
    affordable = [d for d in designs if budget is None or getattr(d, cost) <= budget]
    search = _Search(pilot, probability, goal, check_integer("seed", seed, 0))
    found = None
    with tqdm(affordable, desc="designs", unit="design", disable=not progress, leave=False) as bar:
        for candidate in bar:
            if search.is_hopeless(candidate):
                continue
            if search.succeeds(candidate):
                found = candidate
                break
            if search.capped is not None:
                break
    if not search.tables:
        search.succeeds(max(affordable, key=lambda d: search.distances(d).min()))
    return Advice(found, search.reason(found, affordable), search.tried())


def _designs(pilot: Pilot) -> Iterator[Design]:
    lengths, sizes = np.array(pilot.context_lengths), np.array(pilot.dataset_sizes)
    between = np.unique([*sizes, *np.round(np.sqrt(sizes[1:] * sizes[:-1].astype(np.float64)))]).astype(int)
    axes = [np.append(few, sizes[-1] * 2 ** np.arange(1, n + 1)) for few in (sizes, _every_second(sizes))
            for n in range(DOUBLINGS + 1)]  # fmt: skip
    for l in (lengths, _every_second(lengths)):
        for D in (*axes, between) if len(sizes) < _FEW_SIZES else axes:
            enough = min(len(l), len(D)) >= FEWEST_SIZES
            if enough and can_be_judged(
                pilot.laws, pilot.cells(0, (l.tolist(), D.tolist()), np.zeros((len(l), len(D), 1)))
            ):
                yield from (Design(tuple(l.tolist()), tuple(D.tolist()), seeds) for seeds in SEEDS)


def _every_second(axis: np.ndarray) -> np.ndarray:
    return axis[::-1][::2][::-1]


class _Search:
    """Simulates designs, and remembers what came out: for each a row of outcomes for every table, by truth."""

    def __init__(self, pilot: Pilot, probability: float, goal: str, seed: int):
        self.pilot, self.probability, self.goal, self.seed = pilot, probability, goal, seed
        self.tables: dict[Design, dict[int, Bool[np.ndarray, "tables outcome"]]] = {}
        self.capped: int | None = None
        self._simulations: dict[tuple[int, tuple[int, ...], tuple[int, ...]], Simulation] = {}
        self._distances: dict[Design, Float[np.ndarray, "truth law"]] = {}
        self._needed = np.full(len(pilot.laws), needed_distance(probability))

    def simulation(self, true: int, of: Design) -> Simulation:
        """The simulation of a grid under one law."""
        key = (true, of.context_lengths, of.dataset_sizes)
        if key not in self._simulations:
            self._simulations[key] = Simulation.of(self.pilot, *key)
        return self._simulations[key]

    def distances(self, of: Design) -> Float[np.ndarray, "truth law"]:
        """d between every truth and the fit of every law; infinite between a law and itself."""
        if of not in self._distances:
            n = len(self.pilot.laws)
            found = np.array([self.simulation(true, of).distances(of.seeds) for true in range(n)])
            self._distances[of] = np.where(np.eye(n, dtype=bool), np.inf, found)
        return self._distances[of]

    def is_hopeless(self, of: Design) -> bool:
        """Whether laws are too near, by theory or by what designs tried before told."""
        return bool(np.any(self.distances(of).min(axis=1) < self._needed - _SLACK))

    def succeeds(self, of: Design) -> bool:
        """Whether each law reaches the goal, the nearest to another first; ends at the first that does not."""
        return all(self._reaches(int(true), of) for true in np.argsort(self.distances(of).min(axis=1), kind="stable"))

    def _reaches(self, true: int, of: Design) -> bool:
        simulation, rows = self.simulation(true, of), []
        told = reached = 0
        for n_tables in STAGES:
            for index in range(len(rows), n_tables):
                rng = np.random.default_rng([self.seed, true, of.runs, of.seeds, index])
                rows.append(simulation.outcomes(true, of.seeds, rng))
            told, reached = np.sum(rows, axis=0)[[0, OUTCOMES.index(self.goal)]]
            low, high = _interval(reached, n_tables)
            if not low < self.probability <= high:
                break
        self.tables.setdefault(of, {})[true] = np.array(rows)
        passed = reached >= self.probability * len(rows)
        if not passed:
            if told and _interval(reached, told)[1] < self.probability:
                self.capped = true
            # What this design tells of the distance needed, beside what was thought before.
            quantiles = norm.ppf([self.probability, (told + 1) / (len(rows) + 2)])
            told_needed = self.distances(of)[true].min() + 2 * np.subtract(*quantiles)
            self._needed[true] = (self._needed[true] + told_needed) / 2
        return bool(passed)

    def tried(self) -> xr.Dataset:
        """Every simulated design, as :class:`Advice` describes it."""
        designs, names = list(self.tables), [law.name for law in self.pilot.laws]
        nobody = np.zeros((0, len(OUTCOMES)), bool)
        rows = [[self.tables[of].get(true, nobody) for true in range(len(names))] for of in designs]
        tables = np.array([[len(found) for found in of] for of in rows])
        share = np.array(
            [[found.mean(axis=0) if len(found) else nobody.sum(axis=0) * np.nan for found in of] for of in rows]
        )
        over = ("design", "truth")
        return xr.Dataset(
            {
                "share": ((*over, "outcome"), share),
                "error": ((*over, "outcome"), np.sqrt(share * (1 - share) / np.maximum(tables, 1)[:, :, None])),
                "tables": (over, tables),
                "distance": (over, [self.distances(of).min(axis=1) for of in designs]),
                "rival": (over, [[names[i] for i in self.distances(of).argmin(axis=1)] for of in designs]),
                **{name: ("design", [getattr(of, name) for of in designs]) for name in ("seeds", "runs", "tokens")},
                **{
                    name: ("design", [" ".join(map(str, getattr(of, name))) for of in designs])
                    for name in ("context_lengths", "dataset_sizes")
                },
            },
            coords={"design": range(len(designs)), "truth": names, "outcome": list(OUTCOMES)},
            attrs={"probability": self.probability, "goal": self.goal},
        )

    def reason(self, found: Design | None, affordable: Sequence[Design]) -> str:
        """Why this design, or why none."""
        shares = {of: {i: rows.mean(axis=0) for i, rows in by.items()} for of, by in self.tables.items()}
        if found is not None:
            told, named, wrong = np.array(list(shares[found].values())).T[:3]
            return (
                f"{found}. Each law is told apart in a share of at least {told.min():.2f} of the simulated tables and "
                f"named in {named.min():.2f}; a wrong one is named in at most {wrong.max():.2f}"
            )
        goal = OUTCOMES.index(self.goal)
        if self.capped is not None:
            last, true = shares[list(self.tables)[-1]][self.capped], self.pilot.laws[self.capped].name
            return (
                f"no design: where {true} is true and told apart, the verdict names it in a share of "
                f"{last[goal] / last[0]:.2f} of the tables. It asks that no misfit be seen (p_exact > {EXACT}), and a "
                "true law fails this by chance, whatever the number of runs"
            )
        best = max(shares, key=lambda of: min(share[goal] for share in shares[of].values()))
        worst = min(shares[best], key=lambda i: shares[best][i][goal])
        return (
            f"no design that was tried: the largest probability, {shares[best][worst][goal]:.2f} where "
            f"{self.pilot.laws[worst].name} is true, belongs to {best}. {self._nearest(affordable)}"
        )

    def _nearest(self, affordable: Sequence[Design]) -> str:
        """How near two laws are on the grid where they are farthest apart, and how many seeds that would take."""
        ablest = max(affordable, key=lambda of: self.distances(of).min())
        distances = self.distances(ablest)
        true, rival = np.unravel_index(np.argmin(distances), distances.shape)
        names = self.pilot.laws[true].name, self.pilot.laws[rival].name
        largest = self.simulation(int(true), ablest).largest_miss(int(rival))
        said = f"The best fit of {names[1]} to {names[0]} misses it by at most {largest:.1g} of R(0) - R(L)"
        if largest < SAME:
            return f"{said}: on every grid they are practically the same law"
        needed = needed_distance(self.probability)
        seeds = ablest.seeds * (needed / distances.min()) ** 2
        return (
            f"{said} on {ablest}. All cells together that is {distances.min():.2g} standard errors, and {needed:.2g} "
            f"are needed: about {seeds:,.0f} seeds"
        )


def needed_distance(probability: float) -> float:
    """d at which equal merit is rejected with this probability: 2 (z + Phi^-1(probability))."""
    return float(2 * (norm.isf(EQUAL) + norm.ppf(probability)))


def _interval(count: Integer, of: Integer) -> tuple[float, float]:
    """The exact interval of a share."""
    found = binomtest(int(count), int(of)).proportion_ci(_SURE, "exact")
    return float(found.low), float(found.high)
