"""Every task on a finite alphabet, at dials drawn at random, against brute force over its generative story."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.simulator.enumeration import assert_exact, assert_frequencies
from tests.simulator.stories import SMALL

each_kind = pytest.mark.parametrize("kind", SMALL, ids=lambda kind: kind.__name__)


@each_kind
@given(data=st.data())
@settings(max_examples=3)
def test_bayes_risk_and_prediction_are_what_enumeration_finds(kind, data):
    strategy, story = SMALL[kind]
    assert_exact(data.draw(strategy), story)


@each_kind
@given(data=st.data())
@settings(max_examples=2)
def test_samples_are_as_frequent_as_enumeration_says(kind, data):
    strategy, story = SMALL[kind]
    assert_frequencies(data.draw(strategy), story)
