"""Generators of sequences, one file each; every task knows its exact truth."""

from simulator.tasks.base import ClassificationTask, Examples, Task
from simulator.tasks.gaussian_look_back import (
    ArfimaProcess,
    DesignedProcess,
    GaussianLookBack,
    IndependentTokens,
)
from simulator.tasks.sparse_parity import SparseParity

EXAMPLES: tuple[Task, ...] = (
    SparseParity.pareto(n_tasks=12, max_context_length=16, nearest=2, exponent=1.0),
    SparseParity(((2, 1), (3, 1), (3, 2), (5, 4), (9, 1)), 8, frequencies=(0.4, 0.25, 0.15, 0.1, 0.1)),
    GaussianLookBack.designed(C0=1.0, C=1.0, gamma=1.0, b=1.0, max_context_length=16),
    GaussianLookBack.arfima(d=0.4, max_context_length=16),
    GaussianLookBack.independent(C0=0.5, C=1.0, gamma=0.6, b=1.0, max_context_length=16),
    GaussianLookBack.designed(C0=1.0, C=3.0, gamma=0.6, b=1.0, max_context_length=16, loss="log_loss"),
)
"""One modest instance of each task, and of each of its variants."""

__all__ = [
    "EXAMPLES",
    "ArfimaProcess",
    "ClassificationTask",
    "DesignedProcess",
    "Examples",
    "GaussianLookBack",
    "IndependentTokens",
    "SparseParity",
    "Task",
]
