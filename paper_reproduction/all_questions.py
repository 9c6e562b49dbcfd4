"""Training on multitask parities with many questions of each context.

A hundred labels cost little more than one (:meth:`simulator.models.Model.apply_to_queries`). A trained network is used
like any other.
"""

import abc
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Bool, Float, Int
from tqdm.auto import tqdm

from simulator.models import Transformer
from simulator.models.base import Model, Parameters
from simulator.random.streams import stream_key
from simulator.random.threefry import fold_in
from simulator.tasks import SparseParity
from simulator.tasks.base import Key


@dataclasses.dataclass(frozen=True)
class Training(abc.ABC):
    """Trains by AdamW on fresh contexts. The learning rate falls to zero linearly, and gradients have norm 1 at most.

    Attributes:
        task: the task.
        model: the network.
        steps: number of optimiser steps.
        learning_rate: peak learning rate.
        contexts: number of contexts in a batch.
        warmup: number of steps over which the learning rate rises from zero.
        weight_decay: decoupled weight decay of AdamW.
    """

    task: SparseParity
    model: Model
    steps: int
    learning_rate: float
    contexts: int
    warmup: int = 200
    weight_decay: float = 0.0

    @abc.abstractmethod
    def loss(self, parameters: Parameters, key: Key, progress: Float[Array, ""]) -> Float[Array, ""]:
        """Mean loss on a step's batch, which the key draws. ``progress`` is the fraction of steps already taken."""

    def optimizer(self) -> optax.GradientTransformation:
        """The optimiser, which treats all parameters as one vector."""
        rising = optax.linear_schedule(0.0, self.learning_rate, self.warmup)
        falling = optax.linear_schedule(1.0, 0.0, self.steps)
        adam = optax.adamw(lambda n: rising(n) * falling(n), b1=0.9, b2=0.99, weight_decay=self.weight_decay)
        return optax.flatten(optax.chain(optax.clip_by_global_norm(1.0), adam))

    def run(self, parameters: Parameters, seed: int, what: str = "") -> Parameters:
        """The parameters after all steps. A progress bar shows the loss."""
        state, loss = self.optimizer().init(parameters), float("nan")
        parameters = jax.tree.map(jnp.copy, parameters)
        with tqdm(total=self.steps, desc=what, unit="step", leave=False) as bar:
            while bar.n < self.steps:
                n = min(self.steps - bar.n, max(1, self.steps // 100))
                parameters, state, loss = _advance(self, parameters, state, seed, np.int32(bar.n), np.int32(n))
                bar.set_postfix_str(f"loss {float(loss):.4f}", refresh=False)
                bar.update(n)
        return parameters


@functools.partial(jax.jit, static_argnums=0, donate_argnums=(1, 2))
def _advance(
    training: Training, parameters: Parameters, state: Any, seed: Any, first: Any, steps: Any
) -> tuple[Parameters, Any, Float[Array, ""]]:
    """The parameters and optimiser state after these steps, and the mean of their losses."""
    key, optimizer = stream_key(seed, "train"), training.optimizer()

    def step(i: Array, carry: tuple) -> tuple:
        parameters, state, total = carry
        progress = (i.astype(jnp.float32) + 0.5) / training.steps
        value, gradient = jax.value_and_grad(training.loss)(parameters, fold_in(key, i), progress)
        with jax.numpy_dtype_promotion("standard"):  # optax raises a float to an integer power
            updates, state = optimizer.update(gradient, state, parameters)
        return optax.apply_updates(parameters, updates), state, total + value

    parameters, state, total = jax.lax.fori_loop(first, first + steps, step, (parameters, state, jnp.float32(0)))
    return parameters, state, total / steps.astype(jnp.float32)


def draw(task: SparseParity, key: Key, contexts: int) -> tuple[Int[Array, "B L"], Int[Array, "B n"]]:
    """Contexts, and the answers to all questions. Questions whose far bit is beyond L are answered by fair coins."""
    coins = jax.random.bernoulli(fold_in(key, 2**32 - 1), shape=(contexts, task.n_queries)).astype(jnp.int32)
    context = task.sample(key, jnp.arange(contexts, dtype=jnp.int32)).context
    return context, task.answers(context, coins)


def mean_losses(predictions: Float[Array, "B n 2"], answers: Int[Array, "B n"]) -> Float[Array, "n"]:
    """The loss -ln Q(answer) of each question in nats, averaged over contexts."""
    return -jnp.take_along_axis(predictions, answers[:, :, None], axis=2)[:, :, 0].mean(axis=0)


@dataclasses.dataclass(frozen=True)
class TwoBranchTraining(Training):
    """Trains a :class:`simulator.models.TwoBranchMLP` on contexts of one length.

    Attributes:
        context_length: l, number of visible bits.
    """

    context_length: int = 1

    def loss(self, parameters: Parameters, key: Key, progress: Float[Array, ""]) -> Float[Array, ""]:
        context, answers = draw(self.task, key, self.contexts)
        questions = jnp.arange(self.task.n_queries, dtype=jnp.int32)
        predictions = self.model.apply_to_queries(self.task, parameters, context, self.context_length, questions)
        return jnp.sum(mean_losses(predictions, answers) * self.task.task_frequencies().astype(np.float32))


@dataclasses.dataclass(frozen=True)
class TransformerTraining(Training):
    """Trains one Transformer to answer at every context length.

    A context is shown in full with probability 1/2. Otherwise only its newest m bits are shown, with m uniform on
    {shortest, ..., L}. This is the masking recipe of arXiv 2502.01481 v4.

    With a single block, each question may be shown different bits of the same context. Two additions to the published
    recipe rely on this:

    - *Easy questions.* While ``progress < easy_until``, a question is made easy with probability ``easy_share``. It
      sees its own two bits, and every other bit with probability u^2, u ~ Uniform(0, 1).
    - *Edge lengths.* A question that is not shown everything has, with probability ``edge_share``, a length between
      far - 2 and far + 1, around the point where its answer becomes known. A uniform length rarely falls there (about 1
      in 30).

    Attributes:
        shortest: smallest number of bits that a context shows.
        easy_until: fraction of training with easy questions.
        easy_share: probability that a question is easy during that fraction.
        edge_share: probability of an edge length for a question that is not shown everything.
        frequencies_from: fraction of training after which questions are weighted by frequency. Until then the weights
            interpolate linearly from uniform.
        questions: number of questions asked of each context. Each batch draws others. If the task has fewer, all are
            asked.
    """

    shortest: int = 10
    easy_until: float = 0.0
    easy_share: float = 0.7
    edge_share: float = 0.0
    frequencies_from: float = 0.0
    questions: int = 25

    def __post_init__(self) -> None:
        for name in ("easy_until", "edge_share"):
            if getattr(self, name) and isinstance(self.model, Transformer) and self.model.depth > 1:
                raise ValueError(f"{name} must be 0 where there are several blocks; got {getattr(self, name)}")

    def loss(self, parameters: Parameters, key: Key, progress: Float[Array, ""]) -> Float[Array, ""]:
        n = self.task.n_queries
        context, answers = draw(self.task, key, self.contexts)
        asked = jax.random.permutation(fold_in(key, 1), n)[: self.questions]
        shown = self.shown(fold_in(key, 0), progress, asked)
        length = self.task.max_context_length
        predictions = self.model.apply_to_queries(self.task, parameters, context, length, asked, shown)
        frequencies = self.task.task_frequencies().astype(np.float32)
        mix = jnp.minimum(progress / self.frequencies_from, 1.0) if self.frequencies_from else jnp.float32(1)
        weights = jnp.take(mix * frequencies + (1 - mix) / n, asked) * (n / asked.shape[0])
        return jnp.sum(mean_losses(predictions, jnp.take(answers, asked, axis=1)) * weights)

    def shown(
        self, key: Key, progress: Float[Array, ""], asked: Int[Array, "n"]
    ) -> Bool[Array, "B L"] | Bool[Array, "B n L"]:
        """Which bits a step's batch shows. With one block each question is shown bits of its own."""
        assert isinstance(self.model, Transformer)
        B, n, L = self.contexts, asked.shape[0], self.task.max_context_length
        each = self.model.depth == 1
        keys, of = jax.random.split(key, 7), (B, n if each else 1, 1)
        some = jax.random.randint(keys[0], of, self.shortest, L + 1)
        pairs = jnp.take(jnp.asarray(self.task.pairs, jnp.int32), asked, axis=0)
        if each:
            edge = jnp.clip(pairs[None, :, :1] + jax.random.randint(keys[5], of, -2, 2), self.shortest, L)
            some = jnp.where(jax.random.bernoulli(keys[6], self.edge_share, of), edge, some)
        length = jnp.where(jax.random.bernoulli(keys[1], shape=of), L, some)
        newest = jnp.arange(L)[None, None] >= L - length
        if not each:
            return newest[:, 0]
        share = jax.random.uniform(keys[2], of) ** 2
        own = (jnp.arange(L)[None, None] == L - pairs[..., None]).any(axis=1)
        few = (jax.random.uniform(keys[3], (B, n, L)) < share) | own[None]
        easy = jax.random.bernoulli(keys[4], self.easy_share, of) & (progress < self.easy_until)
        return jnp.where(easy, few, newest)


def with_blocks_underneath(
    task: SparseParity, model: Transformer, parameters: Parameters, depth: int, key: Key
) -> tuple[Transformer, Parameters]:
    """The same function with more blocks. The new blocks come first, and at the start add nothing to the stream."""
    deeper = dataclasses.replace(model, depth=depth)
    old = model.merged(task, parameters)
    new = deeper.merged(task, deeper.init(task, key, task.max_context_length))
    for block in new.blocks[: depth - model.depth]:
        for layer in (block.mixer.output, block.feed_forward.second):
            layer.kernel[...] = jnp.zeros_like(layer.kernel[...])
    for i, block in enumerate(old.blocks, depth - model.depth):
        new.blocks[i] = block
    new.tokens, new.queries, new.norm, new.readout = old.tokens, old.queries, old.norm, old.readout
    return deeper, nnx.split(new)[1]
