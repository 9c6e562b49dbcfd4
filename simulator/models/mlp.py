"""Fully connected networks on the visible tokens and the query."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Annotated

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from simulator.models.base import n_outputs
from simulator.models.fully_connected import FullyConnected, FullyConnectedNetwork, token_width, two_bit_values
from simulator.models.precision import Precision, linear
from simulator.tasks.base import ContextLength, Examples, Key, Task
from theory.checks import check_non_negative, each, instance_of, integer
from theory.types import Integer

_LEAK_OF_IDENTITY = 1.0


@dataclasses.dataclass(frozen=True)
class MLP(FullyConnected):
    """Linear layers with leaky ReLU between them: [visible tokens, one-hot query] -> hidden layers -> outputs.

    Binary tokens enter as ``bit_values``, tokens of larger vocabularies as one-hot vectors, and real-valued tokens as
    they are. Invisible tokens enter as zeros. Weights and biases start uniform on +-1/sqrt(fan-in). The fan-in of the
    first layer counts visible inputs only.

    Attributes:
        hidden_sizes: width of each hidden layer. An empty tuple gives linear or logistic regression.
        negative_slopes: slope below zero of each hidden layer's activation. 0 is ReLU, and 1 is no activation. An empty
            tuple gives ReLU everywhere.
        bit_values: numbers that encode the bits 0 and 1.
    """

    hidden_sizes: Annotated[
        Sequence[int], instance_of(Sequence, "a sequence, as in (64, 64)"), each("a hidden size", integer(1))
    ] = (64, 64)
    negative_slopes: Annotated[Sequence[float], each("a negative slope", check_non_negative)] = ()
    bit_values: Annotated[Sequence[float], two_bit_values] = (-1.0, 1.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        n, n_slopes = len(self.hidden_sizes), len(self.negative_slopes)
        if n_slopes not in (0, n):
            raise ValueError(f"{n} hidden layers need as many negative_slopes (or none); got {n_slopes}")

    @classmethod
    def paper_v1(cls) -> "MLP":
        """The network of the paper's synthetic experiment: 400-200-400, the 200 a linear bottleneck, slopes 0.0015.

        Public code of arXiv 2502.01481 v1-v3; bits enter as 0 and 1.
        """
        return cls((400, 200, 400), (0.0015, _LEAK_OF_IDENTITY, 0.0015), (0.0, 1.0))

    @property
    def widths(self) -> tuple[int, ...]:
        return tuple(self.hidden_sizes)

    def flops(self, task: Task, context_length: Integer) -> int:
        """Invisible tokens do not count. The one-hot query counts as inputs."""
        inputs = int(context_length) * token_width(task) + (task.n_queries if task.n_queries > 1 else 0)
        return 2 * sum(i * o for i, o in itertools.pairwise((inputs, *self.hidden_sizes, n_outputs(task))))

    def network(self, task: Task, key: Key, context_length: ContextLength) -> nnx.Module:
        return MLPNetwork(self, task, key, context_length)


class MLPNetwork(FullyConnectedNetwork):
    """The module behind :class:`MLP`."""

    def __init__(self, spec: MLP, task: Task, key: Key, context_length: ContextLength):
        widths = (*spec.hidden_sizes, n_outputs(task))
        layers = list(itertools.pairwise(widths))
        self.n_queries = task.n_queries if task.n_queries > 1 else 0
        super().__init__(task, key, context_length, widths[0], layers, spec.bit_values, self.n_queries)
        self.slopes = spec.negative_slopes or (0.0,) * len(spec.hidden_sizes)

    def layers(
        self, examples: Examples, context_length: ContextLength, precision: Precision
    ) -> tuple[Float[Array, "B outputs"], list[Float[Array, "B F"]]]:
        query = jax.nn.one_hot(examples.query, self.n_queries, dtype=jnp.float32) if self.n_queries else None
        outputs, hidden = self.first_layer(examples, context_length, precision, query), []
        for slope, kernel, bias in zip(self.slopes, self.kernels, self.biases, strict=True):
            hidden.append(jnp.where(outputs > 0, outputs, slope * outputs))
            outputs = linear(hidden[-1], kernel[...], bias[...], precision)
        return outputs, hidden
