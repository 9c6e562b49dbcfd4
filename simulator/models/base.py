"""The adapter between flax.nnx modules and pure functions."""

import abc
import functools
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, Shaped

from simulator.models.precision import Precision
from simulator.tasks.base import ContextLength, Examples, Key, Task
from theory.checks import Checked
from theory.types import Integer

Parameters: TypeAlias = Any
"""A pytree of arrays."""


class Model(Checked, abc.ABC):
    """The description of a network: a frozen dataclass of plain values. ``init`` makes parameters for a task from it.

    All context lengths share one shape. The network always receives L tokens, and those that are not visible are
    masked. The result must equal that of a network built for l tokens. So masked inputs must contribute nothing, and
    the initial scale must follow the visible fan-in. ``init`` therefore needs the context length.
    """

    @abc.abstractmethod
    def network(self, task: Task, key: Key, context_length: ContextLength) -> nnx.Module:
        """A freshly initialised module.

        It is called as ``module(examples, context_length, precision)``, and ``module.features`` takes the same.
        """

    @property
    @abc.abstractmethod
    def keeps_a_core_busy(self) -> bool:
        """Whether the matrix products of one run are so large that batching runs does not make them faster."""

    @abc.abstractmethod
    def activations(self, task: Task, context_length: Integer) -> int:
        """Approximate number of outputs of one layer for one sample. It decides how many samples fit a core's cache."""

    @abc.abstractmethod
    def check_task(self, task: Task) -> None:
        """Raise ValueError if the model cannot be trained on the task."""

    def init(self, task: Task, key: Key, context_length: ContextLength) -> Parameters:
        """Initial parameters, a function of (model, task, key, context_length) alone."""
        return nnx.split(self.network(task, key, context_length))[1]

    def trained(self, parameters: Parameters) -> Parameters:
        """The part of the parameters that training changes. By default training changes all of them."""
        return parameters

    def with_trained(self, parameters: Parameters, trained: Parameters) -> Parameters:
        """The parameters with their trained part replaced."""
        return trained

    def apply(
        self,
        task: Task,
        parameters: Parameters,
        examples: Examples,
        context_length: ContextLength,
        precision: Precision = "float32",
    ) -> Float[Array, "B *outputs"]:
        """Log-probabilities (B, classes) for classification, means (B,) for regression."""
        return as_prediction(task, self.merged(task, parameters)(examples, context_length, precision))

    def apply_to_queries(
        self,
        task: Task,
        parameters: Parameters,
        context: Shaped[Array, "B L *channels"],
        context_length: ContextLength,
        queries: Int[Array, "n"],
        shown: Bool[Array, "B *n L"] | None = None,
        precision: Precision = "float32",
    ) -> Float[Array, "B n *outputs"]:
        """What :meth:`apply` predicts for several queries of each context.

        Here the queries are asked one by one. Models that read the context before the query share that work.

        Args:
            task: whose queries they are.
            parameters: of the model.
            context: whole contexts.
            context_length: number of visible tokens.
            queries: which queries are asked of each context.
            shown: which of the visible tokens each context shows, or each query of each context; None for all.
            precision: of the layers.

        Raises:
            ValueError: ``shown`` is given to a model that cannot hide single tokens.
        """
        if shown is not None:
            raise ValueError(f"{type(self).__name__} cannot hide single tokens: leave shown None")

        def of_query(query: Int[Array, ""]) -> Float[Array, "B *outputs"]:
            asked = jnp.broadcast_to(query, context.shape[0])
            return self.apply(task, parameters, Examples(context, asked, asked), context_length, precision)

        return jax.vmap(of_query, out_axes=1)(queries)

    def merged(self, task: Task, parameters: Parameters) -> Any:
        """The module with these parameters."""
        return nnx.merge(_graph(self, task), parameters)

    def features(
        self,
        task: Task,
        parameters: Parameters,
        examples: Examples,
        context_length: ContextLength,
        precision: Precision = "float32",
    ) -> dict[str, Float[Array, "B F"]]:
        """Outputs of the hidden layers for each example, under the names that the module gives them."""
        return self.merged(task, parameters).features(examples, context_length, precision)

    @abc.abstractmethod
    def flops(self, task: Task, context_length: Integer) -> int:
        """Exact number of multiplications and additions in the matrix products of one prediction."""

    @abc.abstractmethod
    def state_size(self, context_length: Integer) -> int:
        """Exact number of values that the model carries from token to token after l tokens."""

    def parameter_count(self, task: Task) -> int:
        """Number of trained numbers."""
        shapes = jax.eval_shape(lambda key: self.init(task, key, 1), jax.random.key(0))
        return sum(leaf.size for leaf in jax.tree.leaves(shapes))


@functools.lru_cache(maxsize=64)
def _graph(model: Model, task: Task) -> nnx.GraphDef:
    return nnx.split(nnx.eval_shape(lambda: model.network(task, jax.random.key(0), 1)))[0]


def n_outputs(task: Task) -> int:
    """Number of outputs a network needs: one logit for two classes, one per class for more, one mean per step."""
    if task.n_classes is None:
        return task.n_steps
    return task.n_classes if task.n_classes > 2 else 1


def as_prediction(task: Task, outputs: Float[Array, "B *all"]) -> Float[Array, "B *outputs"]:
    """A network's outputs in the form of ``task.bayes_prediction``."""
    if task.n_classes is None:
        return outputs[..., 0] if task.n_steps == 1 else outputs
    if task.n_classes == 2:
        return jax.nn.log_sigmoid(jnp.concatenate([-outputs, outputs], axis=-1))
    return jax.nn.log_softmax(outputs, axis=-1)
