"""Every task on a finite alphabet, at dials drawn at random, against brute force over its generative story."""

import itertools

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from simulator.tasks import IrrelevantTokens, LagCopy
from tests.simulator.enumeration import assert_frequencies, assert_predictions, assert_risks, outcomes
from tests.simulator.stories import SMALL

each_kind = pytest.mark.parametrize("kind", SMALL, ids=lambda kind: kind.__name__)


@each_kind
@given(data=st.data())
@settings(max_examples=3)
def test_bayes_risk_is_what_enumeration_finds(kind, data):
    strategy, story = SMALL[kind]
    task = data.draw(strategy)
    assert_risks(task, outcomes(story, task))


@each_kind
@given(data=st.data())
@settings(max_examples=2, phases=[Phase.generate])  # smaller counterexamples would be compiled one by one
def test_predictions_and_samples_are_what_enumeration_finds(kind, data):
    strategy, story = SMALL[kind]
    task = data.draw(strategy)
    table = outcomes(story, task)
    assert_predictions(task, table)
    assert_frequencies(task, table)


@pytest.mark.parametrize("kind", ["noise", "distractor", "repeat"])
def test_every_way_of_padding_has_the_risk_that_enumeration_finds(kind):
    for placement, relevance in itertools.product(("first", "last", "middle", "random"), ("visible", "hidden")):
        task = IrrelevantTokens(LagCopy(2, 1.0, 0.4, 3), 0.5, kind, placement, relevance)
        assert_risks(task, outcomes(SMALL[IrrelevantTokens][1], task))
