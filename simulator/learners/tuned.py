"""Networks whose settings are chosen by validation loss, in each run anew."""

import collections
import dataclasses
import functools
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any

from simulator.grid import Cost, KnownSteps, Run, Trial
from simulator.learners.base import FittedRun, Learner
from simulator.learners.gradient_descent import GradientDescent
from simulator.learners.network_predictor import NetworkPredictor
from simulator.specification import canonical_json, digest
from simulator.tasks.base import Task
from simulator.training.cost import training_cost
from simulator.training.step import RunState
from simulator.training.sweep import sweep
from theory.checks import Count, check_sequence, instance_of, set_fields
from theory.types import Integer

_INPUTS = ("learning_rate", "weight_decay")
"""Settings that are inputs of a compiled program. Each value of another one has a program of its own."""

_COMPARED_BY = ("validation_size", "selection")
"""Settings that say what configurations are compared by."""

RESTART = "restart"
"""Number of the initialisation, as a setting of a configuration."""


@dataclasses.dataclass(frozen=True)
class Tuned(Learner):
    """A network whose settings are chosen in each run, by validation loss.

    A configuration is one value of each axis of ``over``, and the number of an initialisation. In every run all
    configurations are trained on the same samples. The one with the smallest validation loss is returned, and is tested
    on fresh samples as usual::

        Tuned(
            GradientDescent(model=MLP(hidden_sizes=(64, 64)), steps=6000),
            over={"learning_rate": (1e-3, 3e-3, 1e-2), "model.hidden_sizes": ((32, 32), (64, 64))},
            restarts=2,
        )

    chooses among twelve configurations. Learning rates, weight decays and restarts train side by side in one compiled
    program. Each value of another setting is compiled once. The last digits may differ from those of the plain learner,
    because a learning rate is an input of the program here, and a constant there. The table of a study says what was
    chosen (:func:`simulator.studies.results.as_table`).

    Attributes:
        learner: the network and its recipe. Its settings hold where no axis changes them.
        over: the values of each setting that are tried. A dot leads to a setting of a setting, as in
            ``"model.hidden_sizes"``.
        restarts: number of initialisations of each combination of values. The first is that of the plain learner.
        budget: number of configurations that are trained, the same ones in every run. They are drawn at random from the
            grid, first initialisations before second ones. A larger budget adds to a smaller one. ``None`` trains all.
    """

    learner: Annotated[
        GradientDescent,
        instance_of(
            GradientDescent,
            "a GradientDescent, as in GradientDescent(steps=6000): only its runs have a validation loss to choose by",
        ),
    ]
    over: Mapping[str, Sequence[Any]] | Sequence[tuple[str, Sequence[Any]]]
    restarts: Count = 1
    budget: Count | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        set_fields(self, over=_checked(self.over, self.learner))
        n = self.restarts * math.prod(len(values) for _, values in self.over)
        if self.budget is not None and self.budget > n:
            raise ValueError(f"budget is {self.budget}, but there are only {n} configurations: leave it None")
        for configuration in self.configurations:
            self.configured(configuration)

    @property
    def configurations(self) -> tuple[dict[str, Any], ...]:
        """Each configuration that is trained, by its settings; ``"restart"`` is among them if there are restarts."""
        axes = [*self.over, *([(RESTART, range(self.restarts))] if self.restarts > 1 else [])]
        names = [name for name, _ in axes]
        grid = [dict(zip(names, values, strict=True)) for values in itertools.product(*(values for _, values in axes))]
        if self.budget is None:
            return tuple(grid)

        def turn(number: int) -> tuple[int, str]:
            return grid[number].get(RESTART, 0), digest(canonical_json(tuple(grid[number].items())))

        drawn = sorted(range(len(grid)), key=turn)[: self.budget]
        return tuple(grid[number] for number in sorted(drawn))

    def configured(self, configuration: Mapping[str, Any]) -> GradientDescent:
        """The plain learner with the settings of a configuration; its restart is not among them."""
        settings = [item for item in configuration.items() if item[0] != RESTART]
        return functools.reduce(lambda learner, item: _replaced(learner, *item), settings, self.learner)

    def check_task(self, task: Task) -> None:
        for learner in self._programs():
            learner.check_task(task)
        size = self.learner.validation_size
        if task.n_classes is not None and size < task.n_classes:
            raise ValueError(
                f"validation_size is {size}, below the {task.n_classes} classes of {type(task).__name__}: too few "
                "samples to choose by. Raise validation_size"
            )

    def groups(self, runs: Sequence[Run]) -> list[list[Run]]:
        return self.learner.groups(runs)

    def fit_groups(self, task: Task, groups: Iterable[Sequence[Run]]) -> Iterator[FittedRun]:
        n = len(self.configurations)
        losses: dict[Run, dict[int, float]] = collections.defaultdict(dict)
        chosen: dict[Run, FittedRun] = {}
        for learner, trial, state, history in self.trained(task, itertools.chain.from_iterable(groups)):
            run = Run(trial.context_length, trial.dataset_size, trial.seed)
            found = losses[run]
            found[trial.configuration] = math.inf if state.diverged else float(state.best_loss)
            best = min(found, key=lambda number: (found[number], number))  # whatever the order in which they end
            if best == trial.configuration:
                chosen[run] = learner.fitted(task, run, state, history)
            if len(found) == n:
                del losses[run]
                of_all = tuple(found[number] for number in range(n))
                yield dataclasses.replace(chosen.pop(run), configuration_losses=of_all, chosen=best)

    def _programs(self) -> dict[GradientDescent, list[dict[str, Any]]]:
        """The learners that are compiled, and the trials of each: fields of :class:`simulator.grid.Trial`."""
        inputs_of = {RESTART, *(name for name, values in self.over if name in _INPUTS and len(values) > 1)}
        programs = collections.defaultdict(list)
        for number, configuration in enumerate(self.configurations):
            inputs = {name: value for name, value in configuration.items() if name in inputs_of}
            compiled = {name: value for name, value in configuration.items() if name not in inputs}
            programs[self.configured(compiled)].append({"configuration": number, **inputs})
        return dict(programs)

    def trained(
        self, task: Task, runs: Iterable[Run]
    ) -> Iterator[tuple[GradientDescent, Trial, RunState, list[float]]]:
        """Every trial of the runs as it ends: its learner, itself, its last state and its validation losses.

        The program that is furthest behind goes on, so that all of them draw runs at about the same time.
        """
        programs = self._programs()
        sweeps = {
            learner: sweep(task, learner, _trials(stream, of_learner))
            for (learner, of_learner), stream in zip(programs.items(), itertools.tee(runs, len(programs)), strict=True)
        }
        ended = dict.fromkeys(sweeps, 0.0)
        while ended:
            learner = min(ended, key=ended.__getitem__)
            trained = next(sweeps[learner], None)
            if trained is None:
                del ended[learner]
            else:
                ended[learner] += 1 / len(programs[learner])
                yield learner, *trained

    def untrained(self, task: Task, context_length: Integer) -> NetworkPredictor:
        return self.configured(self.configurations[0]).untrained(task, context_length)

    def cost(self, task: Task, runs: Sequence[Run], known_steps: KnownSteps) -> Cost:
        costs = [
            training_cost(learner, task, list(_trials(runs, trials)), known_steps)
            for learner, trials in self._programs().items()
        ]
        return Cost(
            tuple(dict.fromkeys(itertools.chain.from_iterable(cost.shape_groups for cost in costs))),
            sum(cost.seconds for cost in costs),
            (sum(cost.seconds_range[0] for cost in costs), sum(cost.seconds_range[1] for cost in costs)),
            sum(cost.memory_bytes for cost in costs),
        )


def _trials(runs: Iterable[Run], trials: Sequence[Mapping[str, Any]]) -> Iterator[Trial]:
    return (Trial(run.context_length, run.dataset_size, run.seed, **trial) for run in runs for trial in trials)


def _checked(over: Any, learner: GradientDescent) -> tuple[tuple[str, tuple[Any, ...]], ...]:
    """The axes by name, with their values as the learner keeps them: 1 and 1.0 are one learning rate."""
    try:
        pairs = tuple(over.items() if isinstance(over, Mapping) else over)
        axes: dict[Any, Any] = dict(pairs)
    except (TypeError, ValueError):
        pairs = axes = {None: over}
    if not all(isinstance(name, str) for name in axes):
        raise TypeError(
            f"over must name settings and the values to try, as in {{'learning_rate': (1e-3, 1e-2)}}; got {over!r}"
        )
    if len(axes) < len(pairs):
        raise ValueError(f"over names a setting twice: give all its values together; got {over!r}")
    return tuple((name, _checked_axis(name, axes[name], learner)) for name in sorted(axes))


def _checked_axis(name: str, values: Any, learner: GradientDescent) -> tuple[Any, ...]:
    if name in _COMPARED_BY:
        raise ValueError(f"over may not hold {name}: configurations are compared by one and the same validation loss")
    kept = []
    for value in check_sequence(f"over {name}", values):
        try:
            kept.append(_setting(_replaced(learner, name, value), name))
        except (TypeError, ValueError) as error:
            raise type(error)(f"over {name}: {error}") from error
    if not kept:
        raise ValueError(f"over {name} is empty: give at least one value, or leave it out")
    if len(set(kept)) < len(kept):
        raise ValueError(f"over {name} holds a value twice; got {tuple(kept)}")
    return tuple(kept)


def _replaced(spec: Any, name: str, value: Any) -> Any:
    """The spec with another value of a setting, which may be a setting of a setting."""
    own, dot, rest = name.partition(".")
    known = getattr(spec, "__dataclass_fields__", {})
    if own not in known:
        has = f"it has {', '.join(known)}" if known else "it has none"
        raise ValueError(f"{type(spec).__name__} has no setting {own!r}; {has}")
    return dataclasses.replace(spec, **{own: _replaced(getattr(spec, own), rest, value) if dot else value})


def _setting(spec: Any, name: str) -> Any:
    return functools.reduce(getattr, name.split("."), spec)
