"""Networks trained by AdamW."""

import dataclasses
import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Int

from simulator.learners.base import Cost, FittedRun, KnownSteps, Learner, Run
from simulator.learners.network_predictor import NetworkPredictor
from simulator.models.base import Model
from simulator.models.mlp import MLP
from simulator.models.precision import Precision
from simulator.random.streams import stream_key
from simulator.tasks.base import Task
from simulator.training import sweep as engine
from simulator.training.curriculum import Stage, checked, in_stage
from simulator.training.step import RunState
from theory.checks import check_choice, check_integer, check_non_negative, check_positive, set_fields
from theory.types import Integer

_NARROW_RUNS = 16

_CACHED_ACTIVATIONS = 2**18
"""Activations of one layer that stay in a core's cache, runs side by side together: one MiB."""

_ACCELERATOR_ROWS = 16384
"""Samples at once on an accelerator: bounds its memory."""


@dataclasses.dataclass(frozen=True)
class GradientDescent(Learner):
    """A model trained by AdamW with gradient clipping, stopped early on a validation set.

    Every epoch visits each of the D samples once, in an order of its own. The parameters kept are those with the
    smallest validation loss. ``selection="validation"`` reports them on a fresh test set; ``selection="paper"`` reports
    the minimum over validation itself, as the public code of arXiv 2502.01481 does: a biased number, the more so
    the smaller D.

    Attributes:
        model: the network.
        steps: most optimiser steps; or give
        epochs: most passes over the D samples. Exactly one of the two is set.
        batch_size: samples per step; a batch never holds a sample twice, so at D < batch_size it holds D.
        learning_rate: AdamW's, at its peak.
        schedule: of the learning rate after the warm-up: ``"constant"``, or falling to zero at the last step, along
            half a ``"cosine"`` or a ``"linear"`` slope.
        warmup: share of the steps over which the learning rate rises from zero.
        weight_decay: AdamW's, decoupled.
        gradient_clip: largest global norm of a gradient; None for no clipping.
        evaluation_every: steps between evaluations (epochs, where ``epochs`` is set); None for 100 steps or 1 epoch.
        patience: evaluations without improvement after which a run ends; None to go on to the last step.
        validation_size: samples of the validation set.
        selection: ``"validation"`` or ``"paper"``.
        precision: of training and validation, ``"float32"`` or ``"mixed"`` (see :func:`simulator.models.linear`); what
            was learned is tested in float32 either way.
        side_by_side: runs trained in one batch on each device; None for the number that was fastest where it was
            measured (:meth:`runs_per_device`). A run's last digits depend on it.
        curriculum: stages of a run, in which it sees more or less of its context (see
            :mod:`simulator.training.curriculum`); by default all of it from the first step on. Patience begins with the
            last stage.
    """

    model: Model = MLP()
    steps: int | None = None
    epochs: int | None = None
    batch_size: int = 64
    learning_rate: float = 5e-3
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    warmup: float = 0.0
    weight_decay: float = 0.1
    gradient_clip: float | None = 1.0
    evaluation_every: int | None = None
    patience: int | None = 5
    validation_size: int = 2048
    selection: Literal["validation", "paper"] = "validation"
    precision: Precision = "float32"
    side_by_side: int | None = None
    curriculum: Sequence[Stage] = (Stage(),)

    def __post_init__(self) -> None:
        if not isinstance(self.model, Model):
            raise TypeError(f"model must be a Model, as in MLP(hidden_sizes=(64, 64)); got {self.model!r}")
        if (self.steps is None) == (self.epochs is None):
            raise ValueError(
                "give exactly one of steps and epochs, as in steps=6000; "
                f"got steps={self.steps!r}, epochs={self.epochs!r}"
            )
        for name in ("steps", "epochs", "evaluation_every", "patience", "side_by_side"):
            if getattr(self, name) is not None:
                set_fields(self, **{name: check_integer(name, getattr(self, name), 1, 2**31 - 1)})
        clip = self.gradient_clip
        set_fields(
            self,
            batch_size=check_integer("batch_size", self.batch_size, 1, 2**24),
            validation_size=check_integer("validation_size", self.validation_size, 1, 2**31 - 1),
            learning_rate=check_positive("learning_rate", self.learning_rate),
            warmup=check_non_negative("warmup", self.warmup),
            weight_decay=check_non_negative("weight_decay", self.weight_decay),
            gradient_clip=None if clip is None else check_positive("gradient_clip", clip),
            curriculum=checked(self.curriculum, self.model),
        )
        if self.warmup >= 1:
            raise ValueError(f"warmup is a share of the steps, below 1; got {self.warmup}")
        check_choice("schedule", self.schedule, ("constant", "cosine", "linear"))
        check_choice("selection", self.selection, ("validation", "paper"))
        check_choice("precision", self.precision, get_args(Precision))

    @classmethod
    def paper_v1(cls) -> "GradientDescent":
        """The settings of the paper's synthetic experiment (public code of arXiv 2502.01481 v1-v3).

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

    def optimizer(self, last_step: int | Int[Array, ""]) -> optax.GradientTransformation:
        """Clipping, then AdamW, on all parameters as one vector: less to compile."""
        clip = optax.identity() if self.gradient_clip is None else optax.clip_by_global_norm(self.gradient_clip)
        rate = self.learning_rate_at(last_step)
        return optax.flatten(optax.chain(clip, optax.adamw(rate, weight_decay=self.weight_decay)))

    def learning_rate_at(self, last_step: int | Int[Array, ""]) -> float | Callable[[Any], Any]:
        """The learning rate, or a function of the number of steps taken: a schedule over shares of a run."""
        peak, rest = self.learning_rate, 1 - self.warmup
        along = {
            "constant": optax.constant_schedule(peak),
            "cosine": optax.cosine_decay_schedule(peak, rest),  # pyright: ignore[reportArgumentType]
            "linear": optax.linear_schedule(peak, 0.0, rest),  # pyright: ignore[reportArgumentType]
        }[self.schedule]
        if self.warmup:
            rising = optax.linear_schedule(0.0, peak, self.warmup)  # pyright: ignore[reportArgumentType]
            along = optax.join_schedules([rising, along], [self.warmup])  # pyright: ignore[reportArgumentType]
        elif self.schedule == "constant":
            return peak
        return lambda count: along((jnp.asarray(count, jnp.float32) + 0.5) / last_step)

    @property
    def looks_at_untrained(self) -> bool:
        """Whether the initial parameters stand for selection; the paper looks at validation after each epoch only."""
        return self.selection == "validation"

    def last_step(self, dataset_size: int) -> int:
        """Most steps of a run."""
        if self.steps is not None:
            return self.steps
        steps = (self.epochs or 0) * self._steps_per_epoch(dataset_size)
        return check_integer(
            f"the number of steps of {self.epochs} epochs over {dataset_size} samples", steps, 1, 2**31 - 1
        )

    def chunk_steps(self, dataset_size: int) -> int:
        """Steps from one evaluation to the next."""
        if self.steps is not None:
            return min(self.evaluation_every or 100, self.steps)
        return min((self.evaluation_every or 1) * self._steps_per_epoch(dataset_size), self.last_step(dataset_size))

    def _steps_per_epoch(self, dataset_size: int) -> int:
        return -(-dataset_size // self.batch_size)

    def runs_per_device(self) -> int:
        """Runs trained in one batch on each device.

        On a CPU 16 of a narrow network and one of a wide one: a batch pays where a single run's products are too small
        to keep a core busy (``python -m tests.benchmarks.scaling`` measures it).
        """
        if self.side_by_side is not None:
            return self.side_by_side
        return 1 if jax.default_backend() == "cpu" and self.model.keeps_a_core_busy else _NARROW_RUNS

    def pieces(self, task: Task, samples: int, context_length: Any) -> int:
        """Pieces in which so many samples go through the network: on a CPU, activations should stay in the cache."""
        if jax.default_backend() != "cpu":
            return -(-samples // _ACCELERATOR_ROWS)
        length = context_length if isinstance(context_length, int) else task.max_context_length
        activations = samples * self.model.activations(task, length) * self.runs_per_device()
        return max(1, min(samples, activations // _CACHED_ACTIVATIONS))

    @property
    def tested_model(self) -> Model:
        """The model in the last stage of the curriculum."""
        return in_stage(self.model, self.curriculum[-1])

    @property
    def last_stage_begins(self) -> float:
        """Share of the steps before the last stage of the curriculum."""
        return math.fsum(stage.share for stage in self.curriculum[:-1])

    def check_task(self, task: Task) -> None:
        self.model.check_task(task)

    def shared_by_slots(self, run: Run) -> tuple[int | None, int]:
        """What runs on the devices at the same time have in common: a context length, or None; steps of a chunk."""
        length = run.context_length if self.runs_per_device() == 1 else None
        return length, self.chunk_steps(run.dataset_size)

    def groups(self, runs: Sequence[Run]) -> list[list[Run]]:
        """Each run alone, the largest dataset sizes first: they take longest."""
        return [[run] for run in sorted(runs, key=lambda r: (-r.dataset_size, r.context_length, r.seed))]

    def fit_groups(self, task: Task, groups: Iterable[Sequence[Run]]) -> Iterator[FittedRun]:
        return engine.sweep(task, self, itertools.chain.from_iterable(groups))

    def untrained(self, task: Task, context_length: Integer) -> NetworkPredictor:
        key = stream_key(0, "initialisation")
        parameters = self.model.init(task, key, context_length)
        return NetworkPredictor(task, self.tested_model, parameters, np.int32(context_length))

    def fitted_run(self, task: Task, run: Run, state: RunState, history: Sequence[float]) -> FittedRun:
        """What a finished run's state amounts to."""
        return FittedRun(
            run,
            NetworkPredictor(
                task, self.tested_model, jax.tree.map(jnp.asarray, state.best_parameters), np.int32(run.context_length)
            ),
            steps=int(state.step),
            diverged=bool(state.diverged),
            validation_losses=tuple(history),
            reported_loss=float(state.best_loss) if self.selection == "paper" else None,
        )

    def cost(self, task: Task, runs: Sequence[Run], known_steps: KnownSteps) -> Cost:
        """Compiles the sweep's program and times a few steps of it on an empty state."""
        mesh = engine.device_mesh()
        slots = mesh.size * self.runs_per_device()
        lengths = sorted({self.shared_by_slots(run)[0] for run in runs}, key=lambda length: length or 0)
        program = (mesh, task, self, lengths[-1])
        inputs = engine.as_inputs(self, [runs[0]] * slots)
        states = engine.empty_states(mesh, task, self, inputs)
        state_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(states))
        fresh = np.ones(slots, bool)
        begin = time.perf_counter()

        def timed(steps: int) -> float:
            nonlocal states
            start = time.perf_counter()
            states, losses, _ = engine.train_chunk(*program, states, inputs, fresh, np.int32(steps))
            losses.block_until_ready()
            return time.perf_counter() - start

        timed(1)
        compiling = len(lengths) * (time.perf_counter() - begin)

        def typical(steps: int) -> float:
            once = timed(steps)
            return once if once > 1 else float(np.median([once, timed(steps), timed(steps)]))

        few, many = 1, 41
        at_few = typical(few)
        per_step = max(typical(many) - at_few, 1e-9) / (many - few)  # of all slots together

        def seconds(steps_of: Callable[[Run], float]) -> float:
            """All slots busy, or the longest run alone, whichever takes longer."""
            each = []
            for run in runs:
                steps = steps_of(run)
                each.append(steps * per_step + math.ceil(steps / self.chunk_steps(run.dataset_size)) * at_few)
            return compiling + max(sum(each) / slots, max(each))

        def least(run: Run) -> float:
            last = self.last_step(run.dataset_size)
            if self.patience is None:
                return last
            evaluations = self.patience + (not self.looks_at_untrained)
            return min(last, self.last_stage_begins * last + evaluations * self.chunk_steps(run.dataset_size))

        def most(run: Run) -> float:
            return self.last_step(run.dataset_size)

        def expected(run: Run) -> float:
            return known_steps(run) or math.sqrt(least(run) * most(run))

        memory = engine.train_chunk.lower(*program, states, inputs, fresh, np.int32(1)).compile().memory_analysis()
        temporary = 0 if memory is None else memory.temp_size_in_bytes
        groups = tuple(
            f"{type(self.model).__name__} with {self.model.parameter_count(task):,} parameters on "
            f"{f'{task.max_context_length} masked' if length is None else length} tokens, {slots} runs side by side"
            for length in lengths
        )
        return Cost(groups, seconds(expected), (seconds(least), seconds(most)), 2 * state_bytes + temporary)
