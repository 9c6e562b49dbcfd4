"""When a run stops: the rule of GrowingPatience, against its statement in NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.learners import GradientDescent, GrowingPatience, Run
from simulator.models import MLP
from simulator.specification import canonical_json, from_json
from simulator.tasks import SparseParity
from simulator.training.patience import Waiting

N = 40
RULES = (GrowingPatience(), GrowingPatience(0.5, least=2), GrowingPatience(2, least=7), GrowingPatience(0, least=3))
LOSSES = st.lists(st.integers(1, 60), min_size=N, max_size=N)
each_rule = pytest.mark.parametrize("rule", RULES)


@functools.partial(jax.jit, static_argnums=0)
def scanned(rule, better, steps):
    """Whether the run stops, after each evaluation."""
    start = Waiting(jnp.int32(0), jnp.int32(0))
    return jax.lax.scan(lambda waiting, seen: rule.evaluated(waiting, *seen), start, (better, steps))[1]


def ends(rule, losses, steps):
    """Evaluations up to the end, or more than there are."""
    smallest_before = np.append(np.inf, np.minimum.accumulate(losses)[:-1])
    stops = np.asarray(scanned(rule, losses < smallest_before, np.asarray(steps, np.int32)))
    return int(stops.argmax()) + 1 if stops.any() else N + 1


def stated(rule, losses, steps):
    """The same by the docstring."""
    for n in range(1, len(losses) + 1):
        b = 1 + int(np.argmin(losses[:n]))
        if n - b >= rule.least and steps[n - 1] - steps[b - 1] >= rule.factor * steps[b - 1]:
            return n
    return N + 1


@each_rule
@settings(deadline=None)
@given(losses=LOSSES, every=st.integers(1, 10**6), first=st.integers(0, 1))
def test_a_run_stops_where_the_docstring_says(rule, losses, every, first):
    """Also where the first evaluation is that of the untrained network."""
    steps = every * np.arange(first, N + first)
    assert ends(rule, losses, steps) == stated(rule, losses, steps)


@each_rule
@settings(deadline=None)
@given(losses=LOSSES)
def test_a_run_stops_no_earlier_than_by_the_fixed_patience_and_within_its_bound(rule, losses):
    """The rule only adds a condition to the fixed patience, and both are bounded by the steps up to the best."""
    steps = np.arange(1, N + 1)
    end = ends(rule, losses, steps)
    assert end >= ends(GrowingPatience.fixed(rule.least), losses, steps)
    best = 1 + int(np.argmin(losses[: end - 1]))
    assert end - 1 <= max(best + rule.least, (1 + rule.factor) * best)


@settings(deadline=None)
@given(shares=st.lists(st.floats(0.01, 1), min_size=12, max_size=12))
def test_no_plateau_is_left_that_lasts_as_long_as_the_steps_up_to_it(shares):
    """Stairs whose plateaus are as long as all before, or shorter. A fixed patience leaves the first long one."""
    losses = [60]
    for share in shares:
        losses += [losses[-1]] * int(share * (len(losses) - 1)) + [losses[-1] - 1]
    losses, steps = losses[:N], np.arange(1, N + 1)
    losses += losses[-1:] * (N - len(losses))
    assert ends(GrowingPatience(), losses, steps) > np.argmin(losses)
    assert ends(GrowingPatience.fixed(10), [2] * 20 + [1] * 20, steps) == 11


TASK = SparseParity(((2, 1), (3, 1), (6, 2), (12, 5)), 10)
LEARNER = GradientDescent(
    MLP(hidden_sizes=(8, 8)), steps=400, evaluation_every=10, batch_size=32, validation_size=256, learning_rate=0.02,
    patience=GrowingPatience(factor=0.5, least=3), selection="paper",
)  # fmt: skip
RUNS = [Run(length, size, seed) for length in (3, 10) for size in (40, 1000) for seed in (0, 1)]


@functools.cache
def trained():
    """The runs by name, side by side."""
    return {fitted.run: fitted for fitted in LEARNER.fit_runs(TASK, RUNS)}


def test_a_trained_run_stops_by_the_rule_and_keeps_its_smallest_loss():
    """The last evaluation is the first after which the rule stops the run, or that of its last step."""
    for fitted in trained().values():
        losses = fitted.validation_losses
        n = stated(LEARNER.patience, losses, fitted.evaluation_steps)
        assert (n, fitted.stopped_by) == (len(losses), "patience") or (n, fitted.stopped_by) == (N + 1, "last step")
        assert fitted.reported_loss == min(losses)
    assert {fitted.stopped_by for fitted in trained().values()} == {"patience", "last step"}


def test_a_run_is_the_same_alone():
    (alone,) = LEARNER.fit_runs(TASK, RUNS[5:6])
    beside = trained()[alone.run]
    assert (alone.steps, alone.validation_losses) == (beside.steps, beside.validation_losses)


def test_a_number_is_a_patience_that_does_not_grow():
    assert GradientDescent(steps=10, patience=3).stopping == GrowingPatience(factor=0, least=3)
    assert GradientDescent(steps=10, patience=None).stopping.least > 10**9


def test_a_patience_survives_json():
    learner = GradientDescent(steps=10, patience=GrowingPatience(factor=2))
    assert from_json(canonical_json(learner)) == learner


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"factor": -1}, "factor must be a finite number, 0 or above; got -1"),
        ({"least": 0}, "least must be between 1 and 2147483647; got 0"),
    ],
)
def test_a_patience_that_cannot_be_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        GrowingPatience(**values)


def test_a_patience_of_no_evaluations_is_refused():
    with pytest.raises(ValueError, match="patience must be between 1 and 2147483647; got 0"):
        GradientDescent(steps=10, patience=0)
