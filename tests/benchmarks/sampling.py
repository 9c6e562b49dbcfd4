"""Sampling speed of every task, in tokens a second, and its memory at dataset sizes far apart.

    python -m tests.benchmarks.sampling

One jitted batch after the other, as training draws them; median of the repetitions. Memory is the compiled program's
own account of a batch: it does not know the dataset size.
"""

import statistics
import time

import jax
import jax.numpy as jnp

from simulator.tasks import (
    AssociativeRecall,
    GaussianLookBack,
    GraphWalk,
    HiddenMarkov,
    HierarchicalGaussian,
    InContextRegression,
    IrrelevantTokens,
    LagCopy,
    ManifoldTeacher,
    MarkovChain,
    Mixture,
    RandomHierarchy,
    Renewal,
    Retrieval,
    SantaFe,
    SparseParity,
    Task,
    VariableTracking,
    ZipfQuanta,
)

TASKS: tuple[Task, ...] = (
    SparseParity.paper_v1(),
    ZipfQuanta(n_tasks=500, max_context_length=100, alpha=0.4, distance_exponent=1.0),
    GaussianLookBack.designed(1.0, 1.0, 1.0, 1.0, 64),
    GaussianLookBack.designed(1.0, 1.0, 1.0, 1.0, 64, n_steps=4, n_irrelevant_channels=3),
    HierarchicalGaussian(n_layers=3),
    InContextRegression(n_features=8, noise_variance=0.25, max_context_length=64),
    ManifoldTeacher(max_context_length=64, n_frequencies=4),
    MarkovChain.random(order=2, vocabulary_size=8, concentration=0.5, max_context_length=64),
    HiddenMarkov.symmetric(n_states=3, stay=0.9, accuracy=0.85, max_context_length=12),
    GraphWalk.random(n_nodes=1000, n_edges=5000, max_context_length=64),
    Renewal(exponent=1.5, max_context_length=64),
    RandomHierarchy(vocabulary_size=8, n_synonyms=2, branching=2, n_levels=6),
    LagCopy(vocabulary_size=16, beta=0.8, first_probability=0.1, max_context_length=64),
    SantaFe(n_facts=10_000, b=0.5, max_context_length=64),
    Retrieval(n_needles=2, n_answers=4, max_context_length=64),
    AssociativeRecall(n_pairs=32, n_keys=64, n_values=64),
    VariableTracking(n_chains=16, chain_length=4, n_values=8),
    Mixture((LagCopy(16, 0.8, 0.1, 64), Retrieval(2, 4, 64)), (0.5, 0.5)),
    IrrelevantTokens(Retrieval(2, 4, 32), relevant_fraction=0.5, kind="distractor", relevance="visible"),
)
BATCH = 16_384
REPETITIONS = 7


def tokens_per_second(task: Task) -> tuple[float, int]:
    """Median speed, and bytes of working memory of one batch."""
    key = jax.random.key(0)
    program = jax.jit(task.sample).lower(key, jnp.arange(BATCH)).compile()
    seconds = []
    for repetition in range(REPETITIONS):
        # The last batches belong to a dataset of two billion samples.
        index = jnp.arange(BATCH) + (repetition * BATCH if repetition < REPETITIONS // 2 else 2**31 - 2**20)
        start = time.perf_counter()
        jax.block_until_ready(program(key, index))
        seconds.append(time.perf_counter() - start)
    return BATCH * task.max_context_length / statistics.median(seconds), program.memory_analysis().temp_size_in_bytes


def main() -> None:
    """Print the table."""
    print(f"batches of {BATCH}, {jax.devices()}")
    print(f"{'task':>20}  {'L':>5}  {'million tokens/s':>16}  {'MB a batch':>10}")
    for task in TASKS:
        speed, memory = tokens_per_second(task)
        print(f"{type(task).__name__:>20}  {task.max_context_length:>5}  {speed / 1e6:>16.1f}  {memory / 1e6:>10.1f}")


if __name__ == "__main__":
    main()
