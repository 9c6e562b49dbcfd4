"""How far a training step is from what the machine can do.

    python -m tests.benchmarks.roofline

measures, on one core, the speed of large matrix products and of a copy through memory, and sets the step of the laptop
grid's network beside the larger of (operations / product speed) and (bytes that must move / memory speed). The bytes
are those of parameters, gradient and both moments, read and written once, and of the batch: all else could stay in
cache.
"""

import dataclasses
import functools
import itertools
import os
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from paper_reproduction.parity_mlp.make import study
from simulator.learners import GradientDescent, Run
from simulator.machine.workers import available_cores
from simulator.tasks import Task
from simulator.training import sweep as engine
from simulator.training.batching import runs_per_device, shared_by_slots


def seconds(function: Callable[[], Any], repeats: int = 7) -> float:
    """Median time of a call that returns arrays."""
    jax.block_until_ready(function())
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(function())
        times.append(time.perf_counter() - start)
    return statistics.median(times)


@functools.cache
def matmul_peak(dtype: str) -> float:
    """Operations a second of a product of (2000, 400) and (400, 400), summed in float32, on one core."""
    os.sched_setaffinity(0, {available_cores()[0]})
    a, b = jnp.ones((2000, 400), dtype), jnp.ones((400, 400), dtype)
    product = jax.jit(lambda a, b: jax.lax.dot(a, b, preferred_element_type=jnp.float32))
    return 2 * 2000 * 400 * 400 / seconds(lambda: product(a, b), 31)


def memory_speed() -> float:
    """Bytes a second of reading and writing an array far larger than the caches, in place."""
    x = np.ones(2**26, np.float32)
    return 2 * x.nbytes / seconds(lambda: np.add(x, 1, out=x))


def network_operations(sizes: Sequence[int]) -> int:
    """Multiplications and additions of a step for one sample: the layer, its two gradients, but none for the inputs."""
    products = [2 * i * o for i, o in itertools.pairwise(sizes)]
    return 3 * sum(products) - products[0]


def step_times(task: Task, learner: GradientDescent, run: Run) -> tuple[float, float]:
    """Seconds of compiling, and of a step of one run where all slots train it."""
    mesh = engine.device_mesh()
    n = mesh.size * runs_per_device(learner, "cpu")
    inputs, fresh = engine.as_inputs(learner, [run] * n), np.ones(n, bool)
    states, (length, _) = engine.empty_states(mesh, task, learner, inputs), shared_by_slots(learner, "cpu", run)

    def chunk(steps: int, fresh: np.ndarray) -> Any:
        nonlocal states
        states, losses, _ = engine.train_chunk(mesh, task, learner, length, states, inputs, fresh, np.int32(steps))
        return losses

    start = time.perf_counter()
    jax.block_until_ready(chunk(1, fresh))
    compiling = time.perf_counter() - start
    many = max(40, 200 * 64 * 256 // (learner.batch_size * learner.model.activations(task, task.max_context_length)))
    return compiling, (seconds(lambda: chunk(1 + many, ~fresh)) - seconds(lambda: chunk(1, ~fresh))) / many / n


def main() -> None:
    """Print the table."""
    os.sched_setaffinity(0, {available_cores()[0]})
    peaks, bandwidth = {"float32": matmul_peak("float32"), "mixed": matmul_peak("bfloat16")}, memory_speed()
    print("one core, GFLOP/s:", {k: round(v / 1e9) for k, v in peaks.items()}, f"memory: {bandwidth / 1e9:.1f} GB/s")
    print("batch  precision   MFLOP a step  arithmetic us  memory us  measured us  / roofline   compile s")
    base = study("laptop")
    for batch, precision in itertools.product((64, 256, 1024), peaks):
        learner = dataclasses.replace(base.learner, batch_size=batch, precision=precision, validation_size=1)
        compiling, step = step_times(base.task, learner, Run(16, 8192, 0))
        sizes = (base.task.max_context_length + base.task.n_queries, *learner.model.hidden_sizes, 1)
        operations = batch * network_operations(sizes)
        arithmetic = operations / peaks[precision]
        moved = 4 * 8 * learner.model.parameter_count(base.task) + 4 * batch * sizes[0]
        memory = moved / bandwidth
        print(
            f"{batch:5d}  {precision:9s} {operations / 1e6:14.1f} {arithmetic * 1e6:14.1f} {memory * 1e6:10.1f} "
            f"{step * 1e6:12.1f} {step / max(arithmetic, memory):12.2f} {compiling:11.1f}"
        )


if __name__ == "__main__":
    main()
