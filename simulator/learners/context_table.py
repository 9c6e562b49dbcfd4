"""Counting: a table of what followed each context."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from simulator.learners.closed_form import ClosedForm
from simulator.tasks.base import Examples, Task
from simulator.tasks.markov_chain import MarkovChain
from theory.checks import Positive
from theory.learning_curves import table_risk
from theory.types import Integer

_MOST_ENTRIES = 2**24
"""Numbers in a table."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TablePredictor:
    """ln Q_l(. | query, context) for every query and context.

    Attributes:
        log_probabilities: shape (queries, v^l, classes); a context is its tokens read as a number to base v, the oldest
            most significant.
        place_values: what each of the L tokens counts for in that number, oldest first, zero out of sight.
        context_length: l.
    """

    log_probabilities: Float[Array, "queries contexts classes"]
    place_values: Any
    context_length: Any

    def __call__(self, examples: Examples) -> Float[Array, "B classes"]:
        words = jnp.sum(examples.context.astype(jnp.int32) * self.place_values[None, :], axis=1, dtype=jnp.int32)
        return self.log_probabilities[examples.query, words]


@dataclasses.dataclass(frozen=True)
class ContextTable(ClosedForm):
    """Q_l(y | x) = (n_xy + c) / (n_x + c K): counts of each answer after each of the v^l contexts, K classes.

    The Bayes predictor when nothing ties one context to another, and the law after each is drawn from the symmetric
    Dirichlet law of concentration c. Expected loss: :func:`theory.learning_curves.table_risk`; with plenty of data KL
    is about v^l (K - 1) / (2 D), so that l* grows as ln D / ln v.

    Attributes:
        concentration: c, above 0.
    """

    concentration: Positive = 0.5

    def check_task(self, task: Task) -> None:
        if task.n_classes is None or task.vocabulary_size is None or task.every_position:
            raise ValueError(
                f"ContextTable counts tokens and answers: it needs a vocabulary and one answer among classes; got "
                f"{task!r:.100}. Use GradientDescent for it"
            )

    def learn(self, task: Task, samples: Examples, context_length: int) -> TablePredictor:
        empty = self.untrained(task, context_length)
        counts = np.zeros(empty.log_probabilities.shape)
        words = samples.context.astype(np.int64) @ np.asarray(empty.place_values, np.int64)
        np.add.at(counts, (samples.query, words, samples.target), 1.0)
        counts += self.concentration
        logarithms = np.log(counts / counts.sum(axis=2, keepdims=True))
        return dataclasses.replace(empty, log_probabilities=jnp.asarray(logarithms, jnp.float32))

    def expected_risk(self, task: Task, context_length: Integer, dataset_size: Integer) -> float:
        """Exact expected loss over data sets, in nats.

        Raises:
            ValueError: a task that is no Markov chain.
        """
        if not isinstance(task, MarkovChain):
            raise ValueError(f"the expected risk of a table is known for Markov chains; got {task!r:.100}")
        return table_risk(task.joint_law(context_length), dataset_size, self.concentration)

    def untrained(self, task: Task, context_length: Integer) -> TablePredictor:
        assert task.vocabulary_size is not None
        assert task.n_classes is not None
        v, length = task.vocabulary_size, int(context_length)
        shape = (task.n_queries, v**length, task.n_classes)
        if shape[0] * shape[1] * shape[2] > _MOST_ENTRIES:
            raise ValueError(
                f"a table of {shape[0]} queries, {v}^{length} contexts and {shape[2]} answers has more than "
                f"{_MOST_ENTRIES} entries: take context lengths below {length}"
            )
        places = np.zeros(task.max_context_length, np.int32)
        places[task.max_context_length - length :] = v ** np.arange(length - 1, -1, -1)
        uniform = jnp.full(shape, -np.log(task.n_classes), jnp.float32)
        return TablePredictor(uniform, jnp.asarray(places), length)
