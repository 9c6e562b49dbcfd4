"""What a run costs as the grid, the data, the context and the network grow; least squares at all lengths at once.

    python -m tests.benchmarks.scaling

on all cores, a step on one CPU device and on two; on one core, seconds of a run against the number of runs in the grid;
of a step against dataset size, context length, width and runs side by side, with the largest memory of the process so
far; then least squares at every length 1..256 from one factorisation beside a solution of its own for each.
"""

import dataclasses
import itertools
import os
import resource
import subprocess
import sys
import time

import numpy as np
import scipy.linalg

from paper_reproduction.parity_mlp.make import study
from simulator import Study
from simulator.learners import LeastSquares, Run
from simulator.machine.workers import available_cores
from simulator.models import MLP
from simulator.tasks import GaussianLookBack, SparseParity
from tests.benchmarks.roofline import step_times


def peak_memory() -> float:
    """Largest resident memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def narrow() -> Study:
    """The laptop grid in batches of 64."""
    base = study("laptop")
    return dataclasses.replace(base, learner=dataclasses.replace(base.learner, batch_size=64))


def against_number_of_runs() -> None:
    """Time a run where all take the same number of steps."""
    base = narrow()
    learner = dataclasses.replace(base.learner, steps=400, patience=None)
    list(learner.fit_runs(base.task, [Run(8, 1000, 0)]))
    print("runs in the grid    ms a run    peak MiB")
    for n in (16, 64, 256, 1024):
        runs = [Run(length, 4096, seed) for length, seed in itertools.product(range(1, 17), range(n // 16))]
        start = time.perf_counter()
        for _ in learner.fit_runs(base.task, runs):
            pass
        print(f"{n:16d} {1e3 * (time.perf_counter() - start) / n:11.2f} {peak_memory():11.0f}")


def against_sizes() -> None:
    """Time a step along each axis from one middle."""
    base = narrow()
    print("\naxis                     value   us a step   compile s    peak MiB")
    cases = [
        *(("dataset size", d, base.task, base.learner, Run(16, d, 0)) for d in (10**3, 10**5, 10**7, 10**9)),
        *(
            ("context length L", L, SparseParity.pareto(24, L, 2, 0.7), base.learner, Run(L, 4096, 0))
            for L in (16, 64, 256, 1024)
        ),
        *(
            ("width", w, base.task, dataclasses.replace(base.learner, model=MLP((w, w))), Run(16, 4096, 0))
            for w in (16, 64, 128, 256, 512)
        ),
    ]
    for width, n in itertools.product((64, 256), (1, 4, 16, 64)):
        learner = dataclasses.replace(base.learner, model=MLP((width, width)), side_by_side=n)
        cases.append((f"runs at once, {width}", n, base.task, learner, Run(16, 4096, 0)))
    for axis, value, task, learner, run in cases:
        compiling, step = step_times(task, learner, run)
        print(f"{axis:18s} {value:11d} {step * 1e6:11.1f} {compiling:11.1f} {peak_memory():11.0f}")


def least_squares_at_every_length() -> None:
    """Weights of all lengths, from samples at hand."""
    task = GaussianLookBack.designed(C0=1.0, C=1.0, gamma=1.0, b=1.0, max_context_length=256)
    runs = [Run(length, 4096, 0) for length in range(1, 257)]
    list(LeastSquares().fit_runs(task, runs))
    start = time.perf_counter()
    fitted = {f.run.context_length: f.predictor.weights for f in LeastSquares().fit_runs(task, runs)}
    together = time.perf_counter() - start
    rng = np.random.default_rng(0)
    data, target = rng.normal(size=(4096, 256)), rng.normal(size=4096)
    start = time.perf_counter()
    for length in runs:
        scipy.linalg.lstsq(data[:, : length.context_length], target, lapack_driver="gelsy", check_finite=False)
    separate = time.perf_counter() - start
    print(f"\nleast squares, L = 256, D = 4096: {len(fitted)} lengths together {together:.2f} s, data drawn included;")
    print(f"separate solutions of data at hand {separate:.2f} s; ratio {separate / together:.1f}")


def step_on_devices(number: int, width: int) -> float:
    """Seconds of a step of one run, in a process that shows so many CPU devices."""
    code = (
        "import dataclasses; from tests.benchmarks.scaling import narrow; from simulator.learners import Run;"
        "from simulator.models import MLP; from tests.benchmarks.roofline import step_times; base = narrow();"
        f"learner = dataclasses.replace(base.learner, model=MLP(({width}, {width})));"
        "print(step_times(base.task, learner, Run(16, 4096, 0))[1])"
    )
    flags = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={number}"}
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **flags}, capture_output=True, check=True)
    return float(done.stdout)


def against_devices(rounds: int = 5) -> None:
    """Take turns."""
    print("\nwidth   one CPU device, us a step   two devices   ratio of medians")
    for width in (64, 256):
        one, two = np.transpose([[step_on_devices(n, width) for n in (1, 2)] for _ in range(rounds)])
        a, b = np.median(one) * 1e6, np.median(two) * 1e6
        print(f"{width:5d} {a:27.1f} {b:13.1f} {a / b:18.2f}")


if __name__ == "__main__":
    against_devices()
    os.sched_setaffinity(0, {available_cores()[0]})
    against_number_of_runs()
    against_sizes()
    least_squares_at_every_length()
