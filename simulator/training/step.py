"""One training run as pure functions of its inputs; vmapped over the slots that train side by side."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int

from simulator.models.base import Model, Parameters
from simulator.models.precision import Precision
from simulator.random.streams import stream_key
from simulator.random.threefry import Key, fold_in, random_words
from simulator.tasks.base import ContextLength, Examples, Task
from simulator.training.batching import pieces
from simulator.training.curriculum import Stage, in_stage
from simulator.training.order import shuffled
from simulator.training.patience import Waiting
from simulator.training.recipe import Recipe


class RunInputs(NamedTuple):
    """What distinguishes the runs of one recipe. What is None is the recipe's, and no input of the program."""

    context_length: Int[Array, ""] | int
    dataset_size: Int[Array, ""]
    seed: Int[Array, ""]
    last_step: Int[Array, ""]
    learning_rate: Float[Array, ""] | None = None
    weight_decay: Float[Array, ""] | None = None
    restart: Int[Array, ""] | None = None

    def optimizer(self, recipe: Recipe) -> optax.GradientTransformation:
        """The recipe's optimiser for this run."""
        return recipe.optimizer(self.last_step, self.learning_rate, self.weight_decay)

    def initialisation_key(self) -> Key:
        """The key of the initial weights. That of restart 0 is the seed's own."""
        key = stream_key(self.seed, "initialisation")
        return key if self.restart is None else jnp.where(self.restart > 0, fold_in(key, self.restart), key)


class RunState(NamedTuple):
    """A run in progress. The best parameters are those with the smallest validation loss so far."""

    parameters: Parameters
    optimizer: optax.OptState
    step: Int[Array, ""]
    best_parameters: Parameters
    best_loss: Float[Array, ""]
    waiting: Waiting
    diverged: Bool[Array, ""]


def start(task: Task, recipe: Recipe, inputs: RunInputs) -> RunState:
    """The state before the first step."""
    parameters = recipe.model.init(task, inputs.initialisation_key(), inputs.context_length)
    return RunState(
        parameters,
        inputs.optimizer(recipe).init(recipe.model.trained(parameters)),
        step=jnp.int32(0),
        best_parameters=parameters,
        best_loss=jnp.float32(jnp.inf),
        waiting=Waiting(jnp.int32(0), jnp.int32(0)),
        diverged=jnp.bool_(False),
    )


def summed_loss(
    task: Task,
    model: Model,
    precision: Precision,
    parameters: Parameters,
    examples: Examples,
    counted: Bool[Array, "B"],
    context_length: ContextLength | Int[Array, "B"],
) -> Float[Array, ""]:
    """Sum of the losses of the counted examples, which see the same number of tokens or each its own."""

    def losses(examples: Examples, length: ContextLength) -> Float[Array, "B"]:
        prediction = model.apply(task, parameters, examples, length, precision)
        return task.pointwise_loss(prediction, examples, length)

    def loss(example: Examples, length: ContextLength) -> Float[Array, ""]:
        return losses(jax.tree.map(lambda field: field[None], example), length)[0]

    of_all = losses if jnp.ndim(context_length) == 0 else jax.vmap(loss)
    return jnp.sum(jnp.where(counted, of_all(examples, context_length), 0.0))


def validation_loss(
    task: Task, recipe: Recipe, platform: str, parameters: Parameters, inputs: RunInputs
) -> Float[Array, ""]:
    """Mean loss on the validation stream, in blocks, so that its memory does not grow with the validation set."""
    key, size = stream_key(inputs.seed, "validation"), recipe.validation_size
    block = size // pieces(recipe, platform, task, size, inputs.context_length)

    def add(i: Array, total: Array) -> Array:
        index = i * block + jnp.arange(block, dtype=jnp.int32)
        examples = task.sample(key, index)
        seen = (examples, index < size, inputs.context_length)
        return total + summed_loss(task, recipe.tested_model, recipe.precision, parameters, *seen)

    return jax.lax.fori_loop(0, -(-size // block), add, jnp.float32(0)) / size


def batch_gradient(
    task: Task, recipe: Recipe, platform: str, parameters: Parameters, inputs: RunInputs, step: Int[Array, ""]
) -> Parameters:
    """Gradient of the mean loss on the step's batch by what is trained, in the stage of the curriculum that the
    step belongs to."""
    progress = (step.astype(jnp.float32) + 0.5) / inputs.last_step.astype(jnp.float32)
    ends = np.cumsum([stage.share for stage in recipe.curriculum])
    begins = np.append(0.0, ends[:-1])

    def of_stage(stage: Stage, begin: float) -> Callable[[], Parameters]:
        within = (progress - jnp.float32(begin)) / jnp.float32(stage.share)
        return lambda: _stage_gradient(task, recipe, platform, stage, parameters, inputs, step, within)

    gradients = [of_stage(stage, begin) for stage, begin in zip(recipe.curriculum, begins, strict=True)]
    if len(gradients) == 1:
        return gradients[0]()
    return jax.lax.switch(jnp.sum(progress >= jnp.asarray(ends[:-1], jnp.float32)), gradients)


def _stage_gradient(
    task: Task,
    recipe: Recipe,
    platform: str,
    stage: Stage,
    parameters: Parameters,
    inputs: RunInputs,
    step: Int[Array, ""],
    progress: Float[Array, ""],
) -> Parameters:
    """The gradient, summed over pieces whose activations stay in a core's cache."""
    train, model = stream_key(inputs.seed, "train"), in_stage(recipe.model, stage)
    index, counted = batch_indices(inputs, step, recipe.batch_size)
    share = 1 / jnp.sum(counted, dtype=jnp.float32)
    key = fold_in(stream_key(inputs.seed, "visible"), step)
    length = stage.visible(inputs.context_length, progress, key, recipe.batch_size)
    each = jnp.ndim(length) > 0

    def of_piece(index: Array, counted: Array, *lengths: Array) -> Parameters:
        examples = task.sample(train, index)
        seen = (examples, counted, lengths[0] if each else length)

        def loss(trained: Parameters) -> Float[Array, ""]:
            moved = model.with_trained(parameters, trained)
            return share * summed_loss(task, model, recipe.precision, moved, *seen)

        return jax.grad(loss)(model.trained(parameters))

    batch = (index, counted, *((jnp.asarray(length),) if each else ()))
    n = pieces(recipe, platform, task, recipe.batch_size, length)
    if n == 1:
        return of_piece(*batch)
    missing = -recipe.batch_size % n
    parts = [jnp.pad(field, (0, missing)).reshape(n, -1) for field in batch]

    def add(total: Parameters, piece: list[Array]) -> tuple[Parameters, None]:
        return jax.tree.map(jnp.add, total, of_piece(*piece)), None

    return jax.lax.scan(add, jax.tree.map(jnp.zeros_like, model.trained(parameters)), parts)[0]


def batch_indices(inputs: RunInputs, step: Int[Array, ""], batch_size: int) -> tuple[Int[Array, "B"], Bool[Array, "B"]]:
    """Which samples the step sees: every sample once an epoch, in an order of that epoch's own.

    An epoch's last batch may be short; the places it leaves empty are not counted.
    """
    size = inputs.dataset_size
    per_epoch = (size + jnp.int32(batch_size - 1)) // jnp.int32(batch_size)
    epoch, batch = step // per_epoch, step % per_epoch
    position = batch * jnp.int32(batch_size) + jnp.arange(batch_size, dtype=jnp.int32)
    (order,) = random_words(fold_in(stream_key(inputs.seed, "order"), epoch)[None], 2)
    index = shuffled(order, jnp.minimum(position, size - 1), size)
    return index.astype(jnp.int32), position < size


def advance(
    task: Task, recipe: Recipe, platform: str, inputs: RunInputs, state: RunState, steps: Int[Array, ""]
) -> tuple[RunState, Float[Array, ""], Bool[Array, ""]]:
    """Train for a number of steps (none beyond the last), evaluate, and say whether the run is finished.

    Returns:
        The new state, the validation loss, and whether the run took its last step, diverged, or ran out of patience.
    """
    optimizer = inputs.optimizer(recipe)

    def step(_: Array, carry: tuple) -> tuple:
        parameters, optimizer_state, n = carry
        gradient = batch_gradient(task, recipe, platform, parameters, inputs, n)
        with jax.numpy_dtype_promotion("standard"):  # optax raises a float to an integer power
            trained = recipe.model.trained(parameters)
            updates, optimizer_state = optimizer.update(gradient, optimizer_state, trained)
        active = n < inputs.last_step
        updates = jax.tree.map(lambda u: jnp.where(active, u, jnp.zeros_like(u)), updates)
        parameters = recipe.model.with_trained(parameters, optax.apply_updates(trained, updates))
        return parameters, optimizer_state, n + active.astype(jnp.int32)

    parameters, optimizer_state, n = jax.lax.fori_loop(0, steps, step, (state.parameters, state.optimizer, state.step))
    loss = validation_loss(task, recipe, platform, parameters, inputs)

    better = loss < state.best_loss
    # What is learned before the last stage need not show in the loss that is selected by: patience begins with it.
    before = n.astype(jnp.float32) <= recipe.last_stage_begins * inputs.last_step.astype(jnp.float32)
    waiting, impatient = recipe.stopping.evaluated(state.waiting, better | before, n)
    diverged = ~jnp.isfinite(loss)
    new = RunState(
        parameters,
        optimizer_state,
        n,
        jax.tree.map(lambda a, b: jnp.where(better, a, b), parameters, state.best_parameters),
        jnp.minimum(loss, state.best_loss),
        waiting,
        diverged,
    )
    return new, loss, diverged | impatient | (n >= inputs.last_step)
