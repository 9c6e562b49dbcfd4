"""Models that training moves along a few random directions only."""

import dataclasses
import math
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from simulator.models.base import Model, Parameters
from simulator.models.mlp import MLP
from simulator.tasks.base import ContextLength, Key, Task
from theory.checks import integer
from theory.types import Integer

Projection = Literal["dense", "fastfood"]


class Fastfood(NamedTuple):
    """The random parts of the projection H G Pi H B with n = 2^k rows."""

    signs: Float[Array, "n"]
    permutation: Int[Array, "n"]
    gaussians: Float[Array, "n"]


class SubspaceParameters(NamedTuple):
    """Parameters of a model in a subspace. Training changes coordinates and scales; the rest stays as it was drawn."""

    coordinates: Float[Array, "d"]
    scales: Float[Array, "m"]
    start: Parameters
    directions: Float[Array, "D d"] | Fastfood


@dataclasses.dataclass(frozen=True)
class RandomSubspace(Model):
    """A model whose D parameters move along d random directions: theta = theta_0 + P z.

    The intrinsic dimension of the optimisation is the smallest d at which the model learns nearly as well as with all
    parameters (:func:`theory.learning_curves.random_subspace.sufficient_dimension`). A run's seed draws theta_0, the
    initial parameters of the model, and P. z starts at zero. Weight decay pulls z to zero, and so the model to theta_0.

    The method is that of Li, Farkhoor, Liu & Yosinski 2018 (arXiv 1804.08838), which Aghajanyan, Zettlemoyer & Gupta
    2021 (arXiv 2012.13255) call DID. With ``layer_scales`` it is their SAID: theta_i = theta_0i + lambda_i (P z)_i in
    each layer i of m. Training changes the lambda_i too. They count among the d numbers, so z has d - m entries.

    Attributes:
        model: the network.
        dimension: d, the number of trained numbers.
        projection: ``"dense"`` or ``"fastfood"``. ``"dense"`` is a D x d matrix of Gaussian numbers whose columns have
            length 1. ``"fastfood"`` is the first D rows and d columns of H G Pi H B (Walsh-Hadamard, Gaussian diagonal,
            permutation, Walsh-Hadamard, random signs; Le, Sarlos & Smola 2013) with the same scale. It stores about D
            numbers and takes D log D operations.
        layer_scales: whether each array of parameters has a scale of its own. A layer is one array here.
    """

    model: Model = MLP()
    dimension: Annotated[int, integer(1, 2**31 - 1)] = 64
    projection: Projection = "dense"
    layer_scales: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.model, Model) or isinstance(self.model, RandomSubspace):
            raise TypeError(f"model must be a Model that trains all of its parameters, as in MLP(); got {self.model!r}")

    def network(self, task: Task, key: Key, context_length: ContextLength) -> nnx.Module:
        return self.model.network(task, key, context_length)

    @property
    def keeps_a_core_busy(self) -> bool:
        return self.model.keeps_a_core_busy

    def activations(self, task: Task, context_length: Integer) -> int:
        return self.model.activations(task, context_length)

    def check_task(self, task: Task) -> None:
        self.model.check_task(task)
        most = self.model.parameter_count(task)
        if self.dimension > most:
            raise ValueError(
                f"a subspace of {self.dimension} dimensions does not fit: {type(self.model).__name__} has {most} "
                f"parameters on {type(task).__name__}; take a dimension up to that"
            )
        n_layers = self._n_layers(task)
        if self.dimension <= n_layers:
            raise ValueError(
                f"the scales of {n_layers} arrays are taken out of the dimension, which must be above that; "
                f"got {self.dimension}"
            )

    def _n_layers(self, task: Task) -> int:
        """Number of arrays that have a scale of their own."""
        if not self.layer_scales:
            return 0
        shapes = jax.eval_shape(lambda key: self.model.init(task, key, 1), jax.random.key(0))
        return len(jax.tree.leaves(shapes))

    def init(self, task: Task, key: Key, context_length: ContextLength) -> SubspaceParameters:
        """Start parameters: z = 0, the model's own theta_0 for the key, and random directions."""
        start = self.model.init(task, key, context_length)
        size = sum(leaf.size for leaf in jax.tree.leaves(start))
        n_layers = self._n_layers(task)
        d = self.dimension - n_layers
        directions = _directions(jax.random.fold_in(key, self.dimension), self.projection, size, d)
        return SubspaceParameters(jnp.zeros(d), jnp.ones(n_layers), start, directions)

    def trained(self, parameters: SubspaceParameters) -> Parameters:
        return parameters.coordinates, parameters.scales

    def with_trained(self, parameters: SubspaceParameters, trained: Parameters) -> SubspaceParameters:
        coordinates, scales = trained
        return parameters._replace(coordinates=coordinates, scales=scales)

    def moved(self, parameters: SubspaceParameters) -> Parameters:
        """The parameters theta in the form of the model's own."""
        start, unravel = ravel_pytree(parameters.start)
        step = _projected(parameters.directions, parameters.coordinates, start.size)
        if self.layer_scales:
            sizes = [leaf.size for leaf in jax.tree.leaves(parameters.start)]
            step = step * jnp.repeat(parameters.scales, np.array(sizes), total_repeat_length=start.size)
        return unravel(start + step)

    def merged(self, task: Task, parameters: SubspaceParameters) -> Any:
        return self.model.merged(task, self.moved(parameters))

    def flops(self, task: Task, context_length: Integer) -> int:
        """Operations of the model. The projection does not count, because it is computed once for all predictions."""
        return self.model.flops(task, context_length)

    def state_size(self, context_length: Integer) -> int:
        return self.model.state_size(context_length)

    def parameter_count(self, task: Task) -> int:
        """The dimension d."""
        return self.dimension


def _directions(key: Key, projection: Projection, size: int, dimension: int) -> Float[Array, "D d"] | Fastfood:
    if projection == "dense":
        columns = jax.random.normal(key, (size, dimension))
        return columns / jnp.linalg.norm(columns, axis=0, keepdims=True)
    n = 2 ** math.ceil(math.log2(size))
    of_signs, of_order, of_gaussians = jax.random.split(key, 3)
    gaussians = jax.random.normal(of_gaussians, (n,))
    # H^T H = n: a column of all n rows has length (n |G|^2)^(1/2), and the first D rows some D/n of its square.
    length = jnp.linalg.norm(gaussians) * np.float32(math.sqrt(size))
    return Fastfood(
        jax.random.rademacher(of_signs, (n,), jnp.float32), jax.random.permutation(of_order, n), gaussians / length
    )


def _projected(
    directions: Float[Array, "D d"] | Fastfood, coordinates: Float[Array, "d"], size: int
) -> Float[Array, "D"]:
    """The product P z."""
    if not isinstance(directions, Fastfood):
        return directions @ coordinates
    padded = jnp.pad(coordinates, (0, directions.signs.size - coordinates.size))
    mixed = _walsh_hadamard(directions.signs * padded)[directions.permutation]
    return _walsh_hadamard(directions.gaussians * mixed)[:size]


def _walsh_hadamard(values: Float[Array, "n"]) -> Float[Array, "n"]:
    """The product H v by sums and differences of halves. H has entries +-1, and n is a power of 2."""
    n, half = values.size, 1
    while half < n:
        pairs = values.reshape(-1, 2, half)
        values = jnp.stack([pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]], axis=1).reshape(n)
        half *= 2
    return values
