"""The m-shot learner of quanta: what was asked often enough is known, the rest is guessed."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from simulator.learners.closed_form import ClosedForm
from simulator.tasks.base import Examples, Task
from simulator.tasks.parity import MultitaskParity
from theory.checks import Count, check_integer
from theory.learning_curves import quanta_risk
from theory.types import Integer


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class QuantaPredictor:
    """ln P_l of queries seen at least m times, uniform for the others.

    Attributes:
        task: whose Bayes prediction is given.
        counts: how often each query was seen.
        threshold: m.
        context_length: l.
    """

    task: Task = dataclasses.field(metadata={"static": True})
    counts: Int[Array, "queries"]
    threshold: Any
    context_length: Any

    def __call__(self, examples: Examples) -> Float[Array, "B classes"]:
        bayes = self.task.bayes_prediction(examples, self.context_length)
        learned = self.counts[examples.query] >= self.threshold
        return jnp.where(learned[:, None], bayes, jnp.float32(-math.log(bayes.shape[1])))


@dataclasses.dataclass(frozen=True)
class QuantaCounter(ClosedForm):
    """Q_l = P_l for queries seen at least m times among the D samples, uniform for the others.

    The idealised learner of the quantization model: each query is a quantum, learned all at once from its m-th sample
    on. Expected loss on parities: ln 2 times :func:`theory.learning_curves.quanta_risk`; with frequencies of exponent
    1 + alpha it falls as D^(-alpha/(1+alpha)) to the Bayes risk of the context length.

    Attributes:
        threshold: m, at least one.
    """

    threshold: Count = 1

    def check_task(self, task: Task) -> None:
        if task.n_classes is None or task.every_position:
            raise ValueError(
                f"QuantaCounter guesses among the classes of one answer; got {task!r:.100}. Use GradientDescent for it"
            )

    def learn(self, task: Task, samples: Examples, context_length: int) -> QuantaPredictor:
        counts = np.bincount(samples.query, minlength=task.n_queries)
        return dataclasses.replace(self.untrained(task, context_length), counts=jnp.asarray(counts, jnp.int32))

    def expected_risk(self, task: Task, context_length: Integer, dataset_size: Integer) -> float:
        """Exact expected loss over data sets, in nats.

        Raises:
            ValueError: a task that is no multitask parity.
        """
        if not isinstance(task, MultitaskParity):
            raise ValueError(f"the expected risk of counting is known for multitask parities; got {task!r:.100}")
        task.check_length(context_length)
        D = check_integer("dataset_size", dataset_size, 1)
        visible = np.array([subset[0] <= context_length for subset in task.subsets()], np.float64)
        if task.relative_frequencies() is None:
            learned = task.samples_in_turn(D) >= self.threshold
            return math.log(2) * float(np.mean(1 - visible * learned))
        return math.log(2) * quanta_risk(task.task_frequencies(), visible, D, self.threshold)

    def untrained(self, task: Task, context_length: Integer) -> QuantaPredictor:
        return QuantaPredictor(task, jnp.zeros(task.n_queries, jnp.int32), self.threshold, int(context_length))
