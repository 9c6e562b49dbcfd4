"""A mixture of tasks, one of them shown in each sample: any convex combination of Bayes risks."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from simulator.random.draws import choose, thresholds
from simulator.random.threefry import random_words
from simulator.tasks.base import ContextLength, Examples, Index, Key, Task, TaskForm
from simulator.tasks.sampling import other_stream, sample_keys
from theory.checks import check_positive, check_sequence, each
from theory.types import Integer


@dataclasses.dataclass(frozen=True)
class Mixture(Task):
    r"""Each sample comes from task j with probability w_j; the query shows which task it is and what that task asks.

        R(l) = sum_j w_j R_j(min(l, L_j)),

    and ``intrinsic_dimension`` and ``intrinsic_entropy`` are means over samples in the same way. Shorter contexts are
    padded with zeros at their old end. All tasks number their tokens and their answers from 0 on.

    Worked example, a copy task (vocabulary of 3, one query) and a parity of two tasks: queries 0 | 1 2, three classes,
    of which a parity's third has probability zero.

    Attributes:
        tasks: the tasks. They have one loss, and tokens and answers of one kind.
        weights: w_j up to a common factor; they need not sum to one.
    """

    tasks: Annotated[Sequence[Task], check_sequence]
    weights: Annotated[Sequence[float], each("a weight", check_positive)]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.tasks:
            raise ValueError("tasks must hold at least one task; got none")
        for task in self.tasks:
            if not isinstance(task, Task) or task.every_position:
                raise TypeError(f"tasks must hold tasks that ask at the end of their context; got {task!r}")
        kinds = [_kind(task) for task in self.tasks]
        if len(set(kinds)) > 1:
            raise ValueError(f"tasks of a mixture must be of one kind; got {' and '.join(dict.fromkeys(kinds))}")
        if len(self.weights) != len(self.tasks):
            raise ValueError(f"{len(self.tasks)} tasks need as many weights; got {len(self.weights)}")

    def probabilities(self) -> Float[np.ndarray, "tasks"]:
        """w_j, summing to one."""
        relative = np.array(self.weights) / max(self.weights)
        return relative / math.fsum(relative)

    @property
    def form(self) -> TaskForm:
        """The longest context, the largest numbers of tokens and of answers, and the queries of all tasks."""
        forms = [task.form for task in self.tasks]
        return dataclasses.replace(
            forms[0],
            max_context_length=max(form.max_context_length for form in forms),
            vocabulary_size=_largest(form.vocabulary_size for form in forms),
            n_classes=_largest(form.n_classes for form in forms),
            n_queries=sum(form.n_queries for form in forms),
            is_stationary_text=False,
        )

    @property
    def risk_exponent(self) -> float | None:
        """The smallest exponent of the tasks; None if one is not known."""
        exponents = [task.risk_exponent for task in self.tasks]
        return None if None in exponents else min(e for e in exponents if e is not None)

    def bayes_risk(self, context_length: Integer) -> float:
        return self._mean(context_length, lambda task, length: task.bayes_risk(length))

    def intrinsic_dimension(self, context_length: Integer) -> float:
        return self._mean(context_length, lambda task, length: task.intrinsic_dimension(length))

    def intrinsic_entropy(self, context_length: Integer) -> float | None:
        self.check_length(context_length)
        if any(task.intrinsic_entropy(0) is None for task in self.tasks):
            return None
        return self._mean(context_length, lambda task, length: task.intrinsic_entropy(length))

    def sample(self, key: Key, index: Index) -> Examples:
        keys, index = sample_keys(other_stream(key, 0), index)
        chosen = choose(random_words(keys, 1)[:, 0], thresholds(self.probabilities()))
        samples = [task.sample(other_stream(key, 1 + j), index) for j, task in enumerate(self.tasks)]
        contexts = [self._padded(examples.context) for examples in samples]
        queries = [examples.query + offset for examples, offset in zip(samples, self._offsets(), strict=True)]
        return Examples(
            *(_selected(chosen, parts) for parts in (contexts, queries, [examples.target for examples in samples]))
        )

    def bayes_prediction(self, examples: Examples, context_length: ContextLength) -> Float[Array, "B *outputs"]:
        self.check_length(context_length)
        self.check_examples(examples)

        def predict(task: Task, own: Examples, length: ContextLength) -> Array:
            prediction = task.bayes_prediction(own, length)
            if task.n_classes is None:
                return prediction
            missing = (self.n_classes or 0) - task.n_classes
            return jnp.pad(prediction, ((0, 0), (0, missing)), constant_values=-jnp.inf)

        return self._by_task(examples, context_length, predict)

    def pointwise_loss(
        self, prediction: Float[Array, "B *outputs"], examples: Examples, context_length: ContextLength
    ) -> Float[Array, "B"]:
        """The value that the sample's own task gives."""
        return self._by_task(
            examples, context_length, lambda task, own, length: task.pointwise_loss(prediction, own, length)
        )

    def pointwise_divergence(
        self,
        bayes: Float[Array, "B *outputs"],
        prediction: Float[Array, "B *outputs"],
        examples: Examples,
        context_length: ContextLength,
    ) -> Float[Array, "B"]:
        """The value that the sample's own task gives."""
        return self._by_task(
            examples,
            context_length,
            lambda task, own, length: task.pointwise_divergence(bayes, prediction, own, length),
        )

    def relevant_tokens(self, examples: Examples) -> Bool[Array, "B L"]:
        """The relevant tokens of the sample's own task; padding is irrelevant."""
        return self._by_task(
            examples, self.max_context_length, lambda task, own, length: self._padded(task.relevant_tokens(own))
        )

    def token_name(self, token: int) -> str:
        return str(token)

    def query_name(self, query: int) -> str:
        number = int(np.searchsorted(self._offsets(), query, side="right")) - 1
        return f"{type(self.tasks[number]).__name__} {self.tasks[number].query_name(query - self._offsets()[number])}"

    def _offsets(self) -> list[int]:
        """First query of every task."""
        return [0, *np.cumsum([task.n_queries for task in self.tasks[:-1]]).tolist()]

    def _mean(self, context_length: Integer, value: Callable[[Task, int], float | None]) -> float:
        self.check_length(context_length)
        values = [value(task, min(int(context_length), task.max_context_length)) for task in self.tasks]
        return math.fsum(w * v for w, v in zip(self.probabilities(), values, strict=True) if v is not None)

    def _padded(self, context: Array) -> Array:
        missing = self.max_context_length - context.shape[1]
        return jnp.pad(context, ((0, 0), (missing, 0), *[(0, 0)] * (context.ndim - 2)))

    def _by_task(
        self,
        examples: Examples,
        context_length: ContextLength,
        ask: Callable[[Task, Examples, ContextLength], Array],
    ) -> Array:
        """Ask every task about all samples, those of others blanked, and keep each sample's own answer."""
        offsets = self._offsets()
        chosen = jnp.searchsorted(jnp.asarray(offsets, jnp.int32), examples.query, side="right").astype(jnp.int32) - 1
        answers = []
        for j, task in enumerate(self.tasks):
            mine = chosen == j
            own = Examples(
                _where(mine, examples.context[:, self.max_context_length - task.max_context_length :]),
                _where(mine, examples.query - offsets[j]),
                _where(mine, examples.target),
            )
            length = jnp.minimum(jnp.asarray(context_length, jnp.int32), task.max_context_length)
            answers.append(ask(task, own, length))
        return _selected(chosen, answers)


def _kind(task: Task) -> str:
    """What the tasks of a mixture must have in common, in words."""
    form = task.form
    tokens = "numbers" if form.vocabulary_size is None else "symbols"
    answers = "values" if form.n_classes is None else "classes"
    return f"{tokens} in {form.n_channels} channels with {answers} in {form.n_steps} steps and loss {form.loss!r}"


def _largest(sizes: Iterable[int | None]) -> int | None:
    """The largest of the sizes; None where the first, and so each, is None."""
    return max((size for size in sizes if size is not None), default=None)


def _where(condition: Bool[Array, "B"], values: Array) -> Array:
    return jnp.where(condition.reshape(-1, *[1] * (values.ndim - 1)), values, jnp.zeros_like(values))


def _selected(chosen: Array, parts: Sequence[Array]) -> Array:
    """Row i of parts[chosen[i]]."""
    result = parts[0]
    for j, part in enumerate(parts[1:], start=1):
        result = jnp.where((chosen == j).reshape(-1, *[1] * (part.ndim - 1)), part, result)
    return result
