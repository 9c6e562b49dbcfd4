"""What mixed precision does to the loss that is learned, on a task of every kind.

    python -m tests.benchmarks.precision

trains the networks of ``tests/simulator/test_learnable.py`` on 2,000 samples in float32 and in mixed precision, sixteen
seeds each, and prints the mean approximation losses, their difference and its standard error over seeds, both runs of a
seed taken as independent: training is chaotic. It needs ``pip install -e ".[test]"``.
"""

import dataclasses

import numpy as np

from simulator import Study, run
from simulator.learners import GradientDescent
from tests.simulator.test_learnable import LEARNABLE

N_SEEDS = 16


def main() -> None:
    """Print the table."""
    print(f"{'task':22s} {'float32':>10s} {'mixed':>10s} {'difference':>12s} {'error':>9s} {'z':>6s}")
    scores = []
    for task, length, learner in LEARNABLE:
        if not isinstance(learner, GradientDescent):
            continue
        losses = {}
        for precision in ("float32", "mixed"):
            study = Study(task, dataclasses.replace(learner, precision=precision), (length,), (2000,), seeds=N_SEEDS)
            losses[precision] = run(study, progress=False)["approximation_loss"].values.ravel()
        one, other = losses["float32"], losses["mixed"]
        difference = other.mean() - one.mean()
        error = np.sqrt((one.var(ddof=1) + other.var(ddof=1)) / N_SEEDS)
        scores.append(difference / error)
        print(
            f"{type(task).__name__:22s} {one.mean():10.5f} {other.mean():10.5f} {difference:12.5f} {error:9.5f} "
            f"{scores[-1]:6.2f}",
            flush=True,
        )
    print(f"root mean square of z: {np.sqrt(np.mean(np.square(scores))):.2f}")


if __name__ == "__main__":
    main()
