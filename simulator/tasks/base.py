"""The contract of a task: data as a function of an index, and the exact truth about it."""

import abc
import dataclasses
import functools
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, TypeAlias, get_args, overload

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int, Shaped

from simulator.random.threefry import Key
from theory.checks import Checked, Count, check_choice, check_integer
from theory.types import Integer

Index: TypeAlias = Any
"""Indices of samples: an integer, a range, or an integer array of shape (B,)."""
ContextLength: TypeAlias = int | np.integer | Shaped[Array, ""]
"""A number of visible tokens; inside jit it may be a traced scalar."""
Loss: TypeAlias = Literal["log_loss", "squared_error"]


class Examples(NamedTuple):
    """A batch of samples.

    Attributes:
        context: tokens, shape (B, L), or (B, L, C) where a token is a vector of C numbers; oldest first, so that the
            visible part at context length l is ``context[:, L-l:]``.
        query: what is asked, integer of shape (B,); all zero for tasks that ask one thing only.
        target: the answer: a class (integer) or a value (float) of shape (B,), or S values, shape (B, S).
    """

    context: Shaped[Array, "B L *channels"]
    query: Int[Array, "B"]
    target: Shaped[Array, "B *steps"]


@dataclasses.dataclass(frozen=True)
class TaskForm(Checked):
    """The shapes of a task's samples and predictions, and the loss that is measured.

    Attributes:
        max_context_length: L, number of tokens in a context.
        loss: ``"log_loss"`` in nats, or ``"squared_error"``.
        vocabulary_size: number of token values; None for real-valued tokens.
        n_classes: number of possible answers; None for regression.
        n_queries: number of different queries.
        n_channels: C, numbers in one real-valued token. The context is (B, L) for one and (B, L, C) for more.
        n_steps: S, values in one real-valued target. The target is (B,) for one and (B, S) for more.
        is_stationary_text: whether context and target are L + 1 successive tokens of one stationary text.
        every_position: whether a prediction has an axis of positions, as in :class:`simulator.tasks.EveryPosition`.
    """

    max_context_length: Count
    loss: Annotated[str, functools.partial(check_choice, choices=get_args(Loss))]
    vocabulary_size: Count | None = None
    n_classes: Count | None = None
    n_queries: Count = 1
    n_channels: Count = 1
    n_steps: Count = 1
    is_stationary_text: bool = False
    every_position: bool = False


class Task(Checked, abc.ABC):
    """A generator of sequences that knows its own Bayes risk and Bayes-optimal predictor at every context length.

    Every task is a frozen dataclass, hashable and made of plain values, so that it can name a run. A classification
    task predicts log-probabilities (B, classes). A regression task predicts means (B,), or (B, S) for S values at once.

    Shapes and loss are the task's :attr:`form`. Each field of it can be read from the task, too:
    ``task.max_context_length``, ``task.loss``, ``task.n_classes``.
    """

    @property
    def form(self) -> TaskForm:
        """The shapes and the loss of this task. A task has this property, or attributes of the same names."""
        names = [field.name for field in dataclasses.fields(TaskForm)]
        stated = {n: object.__getattribute__(self, n) for n in names if n in vars(self) or hasattr(type(self), n)}
        missing = [field.name for field in dataclasses.fields(TaskForm)[:2] if field.name not in stated]
        if missing:
            raise TypeError(
                f"{type(self).__name__} does not state its {' and '.join(missing)}: give it a property form, as in "
                "`return TaskForm(max_context_length=16, loss='log_loss', vocabulary_size=2, n_classes=2)`"
            )
        return TaskForm(**stated)

    @overload
    def __getattr__(self, name: Literal["max_context_length", "n_queries", "n_channels", "n_steps"]) -> int: ...
    @overload
    def __getattr__(self, name: Literal["vocabulary_size", "n_classes"]) -> int | None: ...
    @overload
    def __getattr__(self, name: Literal["loss"]) -> str: ...
    @overload
    def __getattr__(self, name: Literal["is_stationary_text", "every_position"]) -> bool: ...
    def __getattr__(self, name: str) -> Any:
        """What the task does not state itself is read from its form: ``task.loss`` is ``task.form.loss``."""
        if name in TaskForm.__dataclass_fields__:
            return getattr(self.form, name)
        return object.__getattribute__(self, name)  # the usual error

    @property
    def unit(self) -> str:
        """Unit of the loss, for labels."""
        return "nats" if self.loss == "log_loss" else "squared error"

    @abc.abstractmethod
    def sample(self, key: Key, index: Index) -> Examples:
        """Samples number ``index`` of the stream ``key``: the same in any batch, order, chunk or device."""

    @abc.abstractmethod
    def bayes_risk(self, context_length: Integer) -> float:
        """R(l): expected loss of the best predictor that sees the last l tokens. Exact."""

    @abc.abstractmethod
    def bayes_prediction(self, examples: Examples, context_length: ContextLength) -> Float[Array, "B *outputs"]:
        """P_l: what the best predictor that sees the last l tokens answers, in the form of a model's output."""

    @abc.abstractmethod
    def intrinsic_dimension(self, context_length: Integer) -> float:
        """dim(l). Exact; the task's docstring says in which sense."""

    @abc.abstractmethod
    def intrinsic_entropy(self, context_length: Integer) -> float | None:
        """S(P_l) in nats: the entropy of that part of the visible context that bears on the answers.

        Where the context holds facts that the query may ask for, it is the entropy of those facts, given which facts
        they are. It is None where it does not exist.
        """

    @abc.abstractmethod
    def pointwise_loss(
        self, prediction: Float[Array, "B *outputs"], examples: Examples, context_length: ContextLength
    ) -> Float[Array, "B"]:
        """The loss of each prediction on its sampled target."""

    @abc.abstractmethod
    def pointwise_divergence(
        self,
        bayes: Float[Array, "B *outputs"],
        prediction: Float[Array, "B *outputs"],
        examples: Examples,
        context_length: ContextLength,
    ) -> Float[Array, "B"]:
        """Expected loss of ``prediction`` above that of ``bayes`` in the same context; its mean is KL(P_l || Q_l)."""

    @property
    def risk_exponent(self) -> float | None:
        """gamma of R(l) - R(infinity) ~ l^-gamma at large l; None where R is no power law, or not known to be one."""
        return None

    def relevant_tokens(self, examples: Examples) -> Bool[Array, "B L"]:
        """Which tokens bear on the answer, at any context length.

        The other tokens can be exchanged for any that are irrelevant, too, and no Bayes prediction changes.
        """
        return jnp.ones(examples.context.shape[:2], bool)

    def token_name(self, token: int) -> str:
        """How a token of the vocabulary is printed."""
        return str(token)

    def query_name(self, query: int) -> str:
        """How a query is printed."""
        return str(query)

    def check_length(self, context_length: ContextLength) -> None:
        """Raise unless the context length is an integer in 0..L (a traced value is taken on trust)."""
        if isinstance(context_length, jax.Array):
            if isinstance(context_length, Tracer):
                return
            context_length = context_length.item()
        check_integer("context_length", context_length, 0, self.max_context_length)

    def check_examples(self, examples: Examples) -> None:
        """Raise unless the examples are of this task's shape."""
        context, query, _ = examples
        token_shape = (self.max_context_length, *((self.n_channels,) if self.n_channels > 1 else ()))
        if context.ndim != 1 + len(token_shape) or context.shape[1:] != token_shape:
            raise ValueError(
                f"examples.context has shape {context.shape}; {type(self).__name__} needs (B, "
                f"{', '.join(map(str, token_shape))}): pass the whole context, the visible part is chosen by "
                "context_length"
            )
        if query.shape != context.shape[:1]:
            raise ValueError(
                f"examples.query has shape {query.shape}; {context.shape[0]} contexts need as many queries"
            )
        for name, values, number in (("context", context, self.vocabulary_size), ("query", query, self.n_queries)):
            if number is not None and not isinstance(values, Tracer):
                if not np.issubdtype(values.dtype, np.integer):
                    raise TypeError(f"examples.{name} must hold integers; got {values.dtype}")
                known = np.asarray(values)  # its smallest would be traced inside a loop, known or not
                if known.size and not (known.min() >= 0 and known.max() < number):
                    raise ValueError(
                        f"examples.{name} must hold integers in [0, {number}); got {known.min()} to {known.max()}"
                    )


class ClassificationTask(Task):
    """A task whose answer is one of finitely many classes; log-loss in nats."""

    loss: ClassVar[Loss] = "log_loss"

    def pointwise_loss(
        self, prediction: Float[Array, "B classes"], examples: Examples, context_length: ContextLength
    ) -> Float[Array, "B"]:
        """-ln Q(y | x)."""
        return -jnp.take_along_axis(prediction, examples.target[:, None], axis=1)[:, 0]

    def pointwise_divergence(
        self,
        bayes: Float[Array, "B classes"],
        prediction: Float[Array, "B classes"],
        examples: Examples,
        context_length: ContextLength,
    ) -> Float[Array, "B"]:
        """sum_y P(y | x) ln(P(y | x) / Q(y | x)), with 0 ln 0 = 0."""
        possible = bayes > -jnp.inf
        terms = jnp.where(possible, jnp.exp(bayes) * (jnp.where(possible, bayes, 0.0) - prediction), 0.0)
        return jnp.maximum(jnp.sum(terms, axis=1), 0.0)  # rounding can take a zero below


class RegressionTask(Task):
    """A task whose answer is one value or S of them; squared error, the mean over the S."""

    loss: ClassVar[Loss] = "squared_error"

    def pointwise_loss(
        self, prediction: Float[Array, "B *steps"], examples: Examples, context_length: ContextLength
    ) -> Float[Array, "B"]:
        """(y - m)^2, the mean over steps."""
        return _mean_square(examples.target - prediction)

    def pointwise_divergence(
        self,
        bayes: Float[Array, "B *steps"],
        prediction: Float[Array, "B *steps"],
        examples: Examples,
        context_length: ContextLength,
    ) -> Float[Array, "B"]:
        """(m - m_l)^2, the mean over steps."""
        return _mean_square(prediction - bayes)


def _mean_square(differences: Float[Array, "B *steps"]) -> Float[Array, "B"]:
    squares = differences**2
    return squares if squares.ndim == 1 else jnp.mean(squares, axis=1)
