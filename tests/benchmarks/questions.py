"""The cost of a training step that asks many questions of one context, beside one that asks a question of each context.

    python -m tests.benchmarks.questions

Both steps see 800 answers of the task of arXiv 2502.01481 v4, in a Transformer of one block and width 128. The first is
a step of :class:`paper_reproduction.all_questions.TransformerTraining`: 32 contexts, 25 questions each. The second is a
step of :class:`simulator.learners.GradientDescent` on a batch of 800 samples. Times are CPU seconds of this process.
"""

import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from paper_reproduction import all_questions
from simulator.learners import GradientDescent
from simulator.models import RelativeRoPE, Transformer
from simulator.tasks import SparseParity
from simulator.training.curriculum import RandomContext
from simulator.training.step import RunInputs, advance, start

TASK = SparseParity.paper_v4()
L = TASK.max_context_length
MODEL = Transformer(depth=1, width=128, heads=8, positions=RelativeRoPE(base=4000.0, max_length=L + 1))
STEPS = 10_000


def many_questions() -> Callable[[int], object]:
    """Trains a number of steps, each on all questions of few contexts."""
    training = all_questions.TransformerTraining(TASK, MODEL, STEPS, 3e-3, contexts=32, shortest=0)
    parameters = MODEL.init(TASK, jax.random.key(0), L)
    state = training.optimizer().init(parameters)

    def train(steps: int) -> object:
        copies = jax.tree.map(jnp.copy, (parameters, state))
        return all_questions._advance(training, *copies, 0, np.int32(0), np.int32(steps))

    return train


def one_question() -> Callable[[int], object]:
    """Trains a number of steps, each on one question of many contexts."""
    learner = GradientDescent(
        model=MODEL, steps=STEPS, batch_size=800, validation_size=1, curriculum=(RandomContext(shortest=0),)
    )
    inputs = RunInputs(L, *map(jnp.int32, (10**9, 0, STEPS)))
    state = start(TASK, learner, inputs)
    train = jax.jit(lambda steps: advance(TASK, learner, "cpu", inputs, state, steps))
    return lambda steps: train(jnp.int32(steps))


def seconds_per_step(train: Callable[[int], object], few: int, many: int) -> float:
    """The difference between two numbers of steps, so that what is done once does not count."""
    jax.block_until_ready(train(few))
    spent = []
    for steps in (few, many):
        begin = time.process_time()
        jax.block_until_ready(train(steps))
        spent.append(time.process_time() - begin)
    return (spent[1] - spent[0]) / (many - few)


def main() -> None:
    """Print both times and their ratio."""
    many, one = seconds_per_step(many_questions(), 5, 45), seconds_per_step(one_question(), 1, 5)
    print(f"32 contexts, 25 questions each    {many:.4f} CPU-s a step")
    print(f"800 contexts, one question each   {one:.4f} CPU-s a step")
    print(f"ratio                             {one / many:.0f}")


if __name__ == "__main__":
    main()
