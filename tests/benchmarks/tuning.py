"""What tuning gains on parities, what it costs, and which way of searching is best at equal cost.

    python -m tests.benchmarks.tuning

All 36 configurations (3 learning rates, 3 weight decays, 4 initialisations) are trained in each of 27 runs. The setting
is that of paper_reproduction/parity_mlp before its runs had a growing patience. Every way of searching is then played
on the recorded validation curves:

- *grid*: all configurations of fewer initialisations;
- *random*: some of the 36, the mean over 40 draws;
- *screening*: all are trained for a few evaluations, and the best third is trained anew, to the end;
- *halving*: all are trained for a few evaluations, the best third goes on, and again, and to the end.

The loss is the approximation loss on fresh samples. Its ratio to the plain learner's is a geometric mean over the runs;
losses below 0.001 nats count as 0.001. The cost is the number of optimiser steps, in units of the plain learner's.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from simulator.grid import Run
from simulator.learners import Tuned
from simulator.learners.evaluation import evaluate
from tests.benchmarks.optimisation import STUDIES

STUDY = STUDIES["parity_mlp *"]
RATES, DECAYS, RESTARTS = (1.5e-3, 5e-3, 1.5e-2), (0.03, 0.3, 1.0), 4
TUNED = Tuned(STUDY.learner, over={"learning_rate": RATES, "weight_decay": DECAYS}, restarts=RESTARTS)
LENGTHS, SIZES, SEEDS = (4, 16, 64), (1024, 4096, 16384), range(3)
RUNS = [Run(length, size, seed) for seed in SEEDS for size in SIZES[::-1] for length in LENGTHS]
SMALLEST = 1e-3


@dataclasses.dataclass
class Curve:
    """A configuration, trained to its end in a run.

    Attributes:
        settings: learning rate, weight decay and restart.
        steps: optimiser steps taken.
        history: validation loss at each evaluation.
        best: smallest validation loss.
        loss: approximation loss.
    """

    settings: dict[str, float]
    steps: int
    history: list[float]
    best: float
    loss: float

    def steps_until(self, evaluations: int) -> int:
        """Steps until so many evaluations, or the end."""
        return min(self.steps, 100 * evaluations)

    def best_until(self, evaluations: int) -> float:
        """Smallest validation loss of so many evaluations."""
        return min(self.history[:evaluations])


def chosen(curves: Sequence[Curve]) -> Curve:
    """The curve with the smallest validation loss."""
    return min(curves, key=lambda curve: curve.best)


def grid(curves: Sequence[Curve]) -> tuple[float, float]:
    """Steps, and the loss of what is chosen."""
    return sum(curve.steps for curve in curves), chosen(curves).loss


def in_rungs(curves: Sequence[Curve], rungs: Sequence[int], anew: bool) -> tuple[float, float]:
    """The best third after each rung, by numbers of evaluations, goes on or is trained anew."""
    steps, before = 0, 0
    for rung in rungs:
        steps += sum(curve.steps_until(rung) - curve.steps_until(before) for curve in curves)
        curves = sorted(curves, key=lambda curve: curve.best_until(rung))[: -(-len(curves) // 3)]
        before = 0 if anew else rung
    more, loss = grid(curves)
    return steps + more - sum(curve.steps_until(before) for curve in curves), loss


def made() -> tuple[dict[Run, list[Curve]], float]:
    """All curves of each run, and the seconds of their training."""
    begin, ended = time.perf_counter(), list(TUNED.trained(STUDY.task, RUNS))
    seconds, found = time.perf_counter() - begin, {run: [] for run in RUNS}
    for learner, trial, state, history in sorted(ended, key=lambda each: each[1].configuration):
        run = Run(trial.context_length, trial.dataset_size, trial.seed)
        loss = evaluate(STUDY.task, learner.fitted(STUDY.task, run, state, history).predictor, run.seed, 16384)
        settings = TUNED.configurations[trial.configuration]
        found[run].append(Curve(settings, int(state.step), history, float(state.best_loss), loss.approximation_loss))
    return found, seconds


def main() -> None:
    found, seconds = made()
    begin, fitted = time.perf_counter(), list(STUDY.learner.fit_runs(STUDY.task, RUNS))
    plain_seconds, plain_steps = time.perf_counter() - begin, sum(f.steps for f in fitted)
    plain = {f.run: evaluate(STUDY.task, f.predictor, f.run.seed, 16384).approximation_loss for f in fitted}

    def starts(n: int) -> dict[Run, list[Curve]]:
        return {run: [c for c in curves if c.settings["restart"] < n] for run, curves in found.items()}

    rows = []
    for length, size in ((length, size) for length in LENGTHS for size in SIZES):
        runs = [run for run in RUNS if (run.context_length, run.dataset_size) == (length, size)]
        best = [chosen(starts(2)[run]) for run in runs]
        rows.append(
            {
                "l": length,
                "D": size,
                "plain": np.mean([plain[run] for run in runs]),
                "tuned": np.mean([curve.loss for curve in best]),
                "learning rates": " ".join(f"{c.settings['learning_rate']:g}" for c in best),
                "weight decays": " ".join(f"{c.settings['weight_decay']:g}" for c in best),
            }
        )
    print(
        "Approximation loss of the plain learner and of 18 configurations (2 initialisations), and what won by seed\n"
    )
    print(pd.DataFrame(rows).to_string(index=False, float_format="%.4f"))

    searches = []

    def report(name: str, search: Callable[[Sequence[Curve]], tuple[float, float]], of: dict[Run, list[Curve]]) -> None:
        outcomes = {run: search(curves) for run, curves in of.items()}
        ratio = [np.log(max(loss, SMALLEST) / max(plain[run], SMALLEST)) for run, (_, loss) in outcomes.items()]
        searches.append(
            {
                "search": name,
                "cost": f"{sum(steps for steps, _ in outcomes.values()) / plain_steps:.1f}",
                "ratio": f"{np.exp(np.mean(ratio)):.3f}",
                "mean loss": f"{np.mean([loss for _, loss in outcomes.values()]):.4f}",
            }
        )

    rng = np.random.default_rng(0)
    for n in range(1, RESTARTS + 1):
        report(f"grid of {9 * n}", grid, starts(n))
        report(f"screening of {9 * n} by 3 evaluations", lambda c: in_rungs(c, (3,), anew=True), starts(n))
        report(f"screening of {9 * n} by 10 evaluations", lambda c: in_rungs(c, (10,), anew=True), starts(n))
        report(f"halving of {9 * n} at 3 and 9 evaluations", lambda c: in_rungs(c, (3, 9), anew=False), starts(n))
    for n in (9, 18):
        draws = [rng.permutation(36)[:n] for _ in range(40)]
        report(
            f"random {n} of 36",
            lambda c, draws=draws: tuple(np.mean([grid([c[i] for i in draw]) for draw in draws], axis=0)),
            found,
        )
    print("\nWays of searching\n")
    print(pd.DataFrame(searches).to_string(index=False))
    print(
        f"\nMean loss of the plain learner: {np.mean(list(plain.values())):.4f}. Seconds of training, with compiling: "
        f"{plain_seconds:.0f} for the plain learner, {seconds:.0f} for all 36 configurations."
    )


if __name__ == "__main__":
    main()
