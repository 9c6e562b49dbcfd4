"""Many runs side by side: a fixed number of slots, each holding one run; a run that ends makes way for the next.

All runs of a sweep share one compiled program, because context length, dataset size and seed are inputs of it and not
shapes; only a network so wide that its runs are taken one by one gets a program for each context length, which leaves
out the tokens that are not seen. Slots are spread over the devices of the process (``jax.make_mesh`` over axis
``run``), each device running the same program on slots of its own; nothing passes between devices. So a run's result is
the same to the bit in any slot and any company. On another number of devices it may be rounded otherwise, for the
compiler fuses a program for several devices in other ways.
"""

import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from simulator.grid import Run
from simulator.machine.stopping import stop_if_asked
from simulator.tasks.base import Task
from simulator.training.batching import runs_per_device, shared_by_slots
from simulator.training.recipe import Recipe
from simulator.training.step import RunInputs, RunState, advance, start

AnyRun = TypeVar("AnyRun", bound=Run)
"""A run, or one of its trials."""


def device_mesh() -> Mesh:
    """All devices of this process, along axis ``run``."""
    devices = jax.local_devices()
    return jax.make_mesh((len(devices),), ("run",), axis_types=(AxisType.Auto,), devices=devices)


def platform_of(mesh: Mesh) -> str:
    """Kind of the devices: ``"cpu"``, ``"gpu"`` or ``"tpu"``."""
    return mesh.devices.flat[0].platform


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3), donate_argnums=4)
def train_chunk(
    mesh: Mesh,
    task: Task,
    recipe: Recipe,
    context_length: int | None,
    states: RunState,
    inputs: RunInputs,
    fresh: jax.Array,
    steps: jax.Array,
) -> tuple[RunState, jax.Array, jax.Array]:
    """Advance every slot to its next evaluation; slots marked fresh begin their run first.

    The context length is that of all slots, or None if each has its own.
    """

    platform = platform_of(mesh)

    def with_known_length(inputs: RunInputs) -> RunInputs:
        return inputs if context_length is None else inputs._replace(context_length=context_length)

    def on_one_device(
        states: RunState, inputs: RunInputs, fresh: jax.Array, steps: jax.Array
    ) -> tuple[RunState, jax.Array, jax.Array]:
        def of_fresh(new: Any, old: Any) -> Any:
            choose = jax.vmap(lambda is_fresh, new, old: jnp.where(is_fresh, new, old))
            return jax.tree.map(functools.partial(choose, fresh), new, old)

        def begin(states: RunState) -> RunState:
            return of_fresh(_side_by_side(lambda i: start(task, recipe, with_known_length(i)))(inputs), states)

        def advance_or_look(i: jax.Array, carry: tuple) -> tuple:
            n = jnp.where(i > 0, steps, 0)
            trained = _side_by_side(lambda i, s: advance(task, recipe, platform, with_known_length(i), s, n))
            new = trained(inputs, carry[0])
            return jax.lax.cond(i > 0, lambda new, _: new, of_fresh, new, carry)

        any_fresh = jnp.any(fresh)
        states = jax.lax.cond(any_fresh, begin, lambda states: states, states)
        # An untrained network is looked at by the code that looks at a trained one: evaluation is compiled once.
        look_first = any_fresh & recipe.looks_at_untrained
        carry = (states, jnp.zeros(fresh.shape, jnp.float32), jnp.zeros(fresh.shape, bool))
        return jax.lax.fori_loop(jnp.where(look_first, 0, 1), 2, advance_or_look, carry)

    slots = PartitionSpec("run")
    with jax.default_matmul_precision("highest"):
        return jax.shard_map(
            on_one_device, mesh=mesh, in_specs=(slots, slots, slots, PartitionSpec()), out_specs=slots, check_vma=False
        )(states, inputs, fresh, steps)


def _side_by_side(function: Any) -> Any:
    """The function over the leading axis: batched, but a single run is taken as it is."""

    def of_all(*arguments: Any) -> Any:
        if len(jax.tree.leaves(arguments)[0]) > 1:
            return jax.vmap(function)(*arguments)
        alone = function(*jax.tree.map(lambda leaf: leaf[0], arguments))
        return jax.tree.map(lambda leaf: leaf[None], alone)

    return of_all


def empty_states(mesh: Mesh, task: Task, recipe: Recipe, inputs: RunInputs) -> RunState:
    """States of the right shape for as many slots as there are inputs, to be begun by the first chunk."""
    states = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), _shapes(task, recipe, len(inputs.seed)))
    # What a program of one device returns counts as replicated: named so from the start, it is compiled once only.
    slots = PartitionSpec("run") if mesh.size > 1 else PartitionSpec()
    return jax.device_put(states, NamedSharding(mesh, slots))


@functools.lru_cache(maxsize=64)
def _shapes(task: Task, recipe: Recipe, n_slots: int) -> RunState:
    inputs = RunInputs(*(np.zeros(n_slots, np.int32),) * 4)  # pyright: ignore[reportArgumentType]
    return jax.eval_shape(jax.vmap(functools.partial(start, task, recipe)), inputs)


def as_inputs(recipe: Recipe, runs: Sequence[Run]) -> RunInputs:
    """Runs as arrays, one entry per slot. Trials have settings of their own, all of them the same ones."""
    columns = zip(
        *((r.context_length, r.dataset_size, r.seed, recipe.last_step(r.dataset_size)) for r in runs),
        strict=True,
    )

    def own(setting: str, dtype: type) -> Any:
        values = [getattr(run, setting, None) for run in runs]
        return None if values[0] is None else np.asarray(values, dtype)

    return RunInputs(
        *(np.asarray(column, np.int32) for column in columns),  # pyright: ignore[reportArgumentType]
        learning_rate=own("learning_rate", np.float32),
        weight_decay=own("weight_decay", np.float32),
        restart=own("restart", np.int32),
    )


def sweep(task: Task, recipe: Recipe, runs: Iterable[AnyRun]) -> Iterator[tuple[AnyRun, RunState, list[float]]]:
    """Train all runs. The next run is drawn when there is room for it, and not before.

    Yields:
        Each run as it ends: the run, its last state, and the validation loss of each evaluation.
    """
    mesh = device_mesh()
    platform = platform_of(mesh)
    slots: list[AnyRun | None] = [None] * (mesh.size * runs_per_device(recipe, platform))
    histories: list[list[float]] = [[] for _ in slots]
    waiting, held = iter(runs), None
    shared, states = (None, 0), None
    while True:
        fresh = np.zeros(len(slots), bool)
        for i in (i for i, occupant in enumerate(slots) if occupant is None):
            held = held or next(waiting, None)
            # One program, and one number of steps to the next evaluation, for all: others wait until all have ended.
            if held is None or (any(slots) and shared_by_slots(recipe, platform, held) != shared):
                break
            shared = shared_by_slots(recipe, platform, held)
            slots[i], histories[i], fresh[i], held = held, [], True, None
        occupied = [run for run in slots if run is not None]
        if not occupied:
            return
        inputs = as_inputs(recipe, [run or occupied[0] for run in slots])
        states = empty_states(mesh, task, recipe, inputs) if states is None else states
        context_length, steps = shared
        states, losses, finished = train_chunk(
            mesh, task, recipe, context_length, states, inputs, fresh, np.int32(steps)
        )
        losses, finished = np.asarray(losses), np.asarray(finished)
        ended = [i for i, run in enumerate(slots) if run is not None and finished[i]]
        outcomes = _of_slots(states, ended)
        for i, run in enumerate(slots):
            if run is None:
                continue
            histories[i].append(float(losses[i]))
            if finished[i]:
                yield run, next(outcomes), histories[i]
                slots[i] = None
        stop_if_asked()


def _of_slots(states: RunState, slots: Sequence[int]) -> Iterator[RunState]:
    """What is kept of the runs in some slots, copied: the next chunk writes over the states."""
    if slots:
        kept = states._replace(parameters=(), optimizer=())
        kept = jax.tree.map(lambda leaf: np.asarray(leaf)[list(slots)], kept)
        for place in range(len(slots)):
            yield jax.tree.map(lambda leaf, place=place: leaf[place], kept)
