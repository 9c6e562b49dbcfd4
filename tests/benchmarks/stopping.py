"""When to stop: what each rule of patience costs, and how often it leaves something to be learned.

    python -m tests.benchmarks.stopping [TASK ...]

Runs are trained for many steps without early stopping, three seeds for each cell. Each rule is then applied to their
validation curves. A run is *left* if the smallest loss before the rule stops exceeds the smallest of the whole run by
more than 1 % of R(0) - R(L). The cost is the mean number of steps.
"""

import argparse
import dataclasses

import numpy as np
import pandas as pd

from paper_reproduction.parity_mlp.make import study as parity_study
from simulator.learners import FittedRun, GradientDescent, GrowingPatience, Run
from simulator.models import MLP
from simulator.tasks import LagCopy, Retrieval
from simulator.tasks.base import Task

_PARITIES = parity_study("laptop").task
_HEADLINE = dataclasses.replace(parity_study("laptop").learner, steps=20_000)
_RETRIEVAL = Retrieval(n_needles=2, n_answers=2, max_context_length=12, distance_law="uniform", n_distractors=2)
_COPIES = LagCopy(vocabulary_size=8, beta=1.0, first_probability=0.24, max_context_length=16)
_SMALL = GradientDescent(MLP(), steps=16_000, learning_rate=2e-3, weight_decay=0.03, precision="mixed")
_NEAR_THE_OPTIMUM = (
    (4, 1448), (8, 2048), (8, 4096), (16, 4096), (11, 5793), (16, 8192), (23, 8192), (23, 16384), (32, 16384),
    (45, 16384), (32, 23170), (45, 23170), (32, 32768), (45, 32768), (64, 32768),
)  # fmt: skip
_DECAY = {"batch_size": 64, "learning_rate": 0.01, "weight_decay": 0.1}
TASKS: dict[str, tuple[Task, GradientDescent, tuple[tuple[int, int], ...]]] = {
    "parity_mlp": (_PARITIES, _HEADLINE, _NEAR_THE_OPTIMUM),
    "parities, weight decay": (
        _PARITIES,
        dataclasses.replace(_HEADLINE, **_DECAY),
        ((45, 8192), (64, 8192), (45, 16384), (64, 16384)),
    ),
    "retrieval": (_RETRIEVAL, _SMALL, ((4, 4096), (8, 4096), (8, 16384), (12, 16384), (12, 65536))),
    "copies": (_COPIES, _SMALL, ((4, 2048), (8, 2048), (8, 8192), (16, 8192), (16, 32768))),
}
"""Task, learner and cells (l, D) by name."""
RULES = [GrowingPatience.fixed(least) for least in (5, 10, 20, 40, 80)]
RULES += [GrowingPatience(factor, least) for factor in (0.5, 1, 2, 3) for least in (5, 10)]


def stops_at(rule: GrowingPatience, fitted: FittedRun) -> int:
    """Evaluations before the rule stops the run."""
    losses, steps = fitted.validation_losses, fitted.evaluation_steps
    best = 0
    for n, loss in enumerate(losses):
        best = n if loss < losses[best] else best
        if n - best >= rule.least and steps[n] - steps[best] >= rule.factor * steps[best]:
            return n + 1
    return len(losses)


def measured(name: str) -> dict[str, list[str]]:
    """For each rule the share of runs left, and the cost."""
    task, learner, cells = TASKS[name]
    learner = dataclasses.replace(learner, patience=None)
    runs = list(learner.fit_runs(task, [Run(l, D, seed) for l, D in cells for seed in range(3)]))
    unit = task.bayes_risk(0) - task.bayes_risk(task.max_context_length)
    column = []
    for rule in RULES:
        ends = [stops_at(rule, fitted) for fitted in runs]
        losses = [(min(f.validation_losses[:n]), min(f.validation_losses)) for f, n in zip(runs, ends, strict=True)]
        left = np.mean([stopped - best > 0.01 * unit for stopped, best in losses])
        cost = np.mean([f.evaluation_steps[n - 1] for f, n in zip(runs, ends, strict=True)])
        column.append(f"{left:.0%} {cost:,.0f}")
    return {f"{name} ({len(runs)})": column}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.stopping", description=__doc__)
    parser.add_argument("names", nargs="*", default=list(TASKS), metavar="TASK", help=f"of {', '.join(TASKS)}")
    table = pd.DataFrame([dataclasses.asdict(rule) for rule in RULES])
    for name in parser.parse_args().names:
        table = table.assign(**measured(name))
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
