"""Networks trained by gradient descent."""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from simulator.grid import Cost, KnownSteps, Run
from simulator.learners.base import FittedRun, Learner
from simulator.learners.network_predictor import NetworkPredictor
from simulator.models.mlp import MLP
from simulator.random.streams import stream_key
from simulator.tasks.base import Task
from simulator.training.cost import training_cost
from simulator.training.recipe import Recipe
from simulator.training.step import RunState
from simulator.training.sweep import sweep
from theory.types import Integer


@dataclasses.dataclass(frozen=True)
class GradientDescent(Recipe, Learner):
    """A network trained by a :class:`simulator.training.recipe.Recipe`, whose fields it has.

    ``GradientDescent(model=MLP(hidden_sizes=(64, 64)), steps=6000)`` trains by AdamW, stops early on a validation set,
    and returns the parameters with the smallest validation loss.
    """

    @classmethod
    def paper_v1(cls) -> "GradientDescent":
        """The settings of the synthetic experiment of arXiv 2502.01481 v1-v3, as its public code has them.

        AdamW, learning rate 1e-3, decay 8e-4, batches of 10,000, clipping at 1, at most 200 epochs, patience of 25
        epochs, validation set of 2,000,000, the minimum over validation reported.
        """
        return cls(
            model=MLP.paper_v1(),
            epochs=200,
            batch_size=10_000,
            learning_rate=1e-3,
            weight_decay=8e-4,
            patience=25,
            validation_size=2_000_000,
            selection="paper",
        )

    def check_task(self, task: Task) -> None:
        self.model.check_task(task)

    def groups(self, runs: Sequence[Run]) -> list[list[Run]]:
        """Each run alone, the largest dataset sizes first: they take longest."""
        return [[run] for run in sorted(runs, key=lambda r: (-r.dataset_size, r.context_length, r.seed))]

    def fit_groups(self, task: Task, groups: Iterable[Sequence[Run]]) -> Iterator[FittedRun]:
        for run, state, history in sweep(task, self, itertools.chain.from_iterable(groups)):
            yield self.fitted(task, run, state, history)

    def fitted(self, task: Task, run: Run, state: RunState, history: Sequence[float]) -> FittedRun:
        """The outcome of a run that a sweep ended in this state, after these validation losses."""
        parameters = jax.tree.map(jnp.asarray, state.best_parameters)
        taken, every = int(state.step), self.chunk_steps(run.dataset_size)
        steps = tuple(min(n * every, taken) for n in range(1, len(history) + 1))
        best = (step for step, loss in zip(steps, history, strict=True) if loss == state.best_loss)
        at_end = "last step" if taken == self.last_step(run.dataset_size) else "patience"
        return FittedRun(
            run,
            NetworkPredictor(task, self.tested_model, parameters, np.int32(run.context_length)),
            steps=taken,
            stopped_by="diverged" if state.diverged else at_end,
            validation_losses=tuple(history),
            evaluation_steps=steps,
            best_step=next(best, 0),
            reported_loss=float(state.best_loss) if self.selection == "paper" else None,
        )

    def untrained(self, task: Task, context_length: Integer) -> NetworkPredictor:
        parameters = self.model.init(task, stream_key(0, "initialisation"), context_length)
        return NetworkPredictor(task, self.tested_model, parameters, np.int32(context_length))

    def cost(self, task: Task, runs: Sequence[Run], known_steps: KnownSteps) -> Cost:
        return training_cost(self, task, runs, known_steps)
