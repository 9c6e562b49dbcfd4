"""The library of tasks at one glance: a row for each, with drawn sequences, R(l), dim(l) and S(P_l)."""

import pathlib

import figures
from paper_reproduction.reproduction import Reproduction, Result, Scale
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
from simulator.tasks.worked_example import truth_of_task, worked_example

LONG: tuple[Task, ...] = (
    SparseParity.pareto(n_tasks=500, max_context_length=1024, nearest=4, exponent=0.7),
    ZipfQuanta(n_tasks=2000, max_context_length=1024, alpha=0.5, distance_exponent=1.0, distances="coupled"),
    Retrieval(n_needles=2, n_answers=4, max_context_length=1024, distance_law="pareto", exponent=0.6, nearest=2),
    AssociativeRecall(n_pairs=64, n_keys=128, n_values=16, gap_exponent=1.0),
    VariableTracking(n_chains=32, chain_length=4, n_values=8),
    SantaFe(n_facts=1_000_000, b=0.5, max_context_length=1024),
    LagCopy(vocabulary_size=8, beta=0.8, first_probability=0.05, max_context_length=1024),
    MarkovChain.random(order=3, vocabulary_size=4, concentration=0.3, max_context_length=64),
    HiddenMarkov.symmetric(n_states=3, stay=0.9, accuracy=0.85, max_context_length=12),
    GraphWalk.random(n_nodes=30, n_edges=60, max_context_length=64),
    Renewal(exponent=1.5, max_context_length=1024),
    RandomHierarchy(vocabulary_size=8, n_synonyms=2, branching=2, n_levels=6),
    GaussianLookBack.designed(C0=1.0, C=3.0, gamma=0.6, b=1.0, max_context_length=512),
    HierarchicalGaussian(n_layers=4),
    InContextRegression(n_features=8, noise_variance=0.25, max_context_length=257),
    ManifoldTeacher(max_context_length=64, gamma=0.5, ambient_dimension=3),
    Mixture(
        (
            Retrieval(n_needles=1, n_answers=2, max_context_length=512, distance_law="pareto", exponent=1.0),
            SparseParity.pareto(n_tasks=200, max_context_length=512, nearest=4, exponent=0.5),
        ),
        (0.5, 0.5),
    ),
    IrrelevantTokens(
        SparseParity.pareto(n_tasks=500, max_context_length=512, nearest=4, exponent=0.7),
        relevant_fraction=0.5,
        kind="distractor",
        relevance="visible",
    ),
)
"""One instance of every kind of task, long enough to show its exponents."""
SMOKE = (LagCopy, Renewal, GaussianLookBack)


def gallery(scale: Scale) -> tuple[Task, ...]:
    """The tasks shown: every kind, but three kinds at smoke scale."""
    if scale == "smoke":
        return tuple(task for task in LONG if isinstance(task, SMOKE))
    return LONG


def make(scale: Scale, folder: pathlib.Path, workers: int) -> Result:
    """One figure of all tasks, its numbers, and one worked example of each task."""
    tasks = gallery(scale)
    examples = "\n\n\n".join(worked_example(task) for task in tasks) + "\n"
    drawn = figures.draw_gallery([truth_of_task(task) for task in tasks])
    names = [type(task).__name__ for task in tasks]
    return Result(
        {}, {"gallery": drawn}, f"{len(names)} tasks: {', '.join(names)}", texts={"worked_examples.txt": examples}
    )


REPRODUCTION = Reproduction(
    "The library of tasks",
    claim="The theory holds for tasks whose R(l), dim(l) and S(P_l) are known.",
    source="every paper named in the docstrings of the tasks",
    make=make,
)
