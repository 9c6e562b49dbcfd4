"""The file of a network holds every bit of it, and a damaged or foreign file is never taken for one."""

import json
import pathlib
import pickle
import warnings

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paper_reproduction.parity_mlp import make as headline
from simulator.learners import GradientDescent
from simulator.measurement import echo_and_induction_scores
from simulator.models import EXAMPLES, MLP, Transformer
from simulator.specification import canonical_json
from simulator.studies.networks import network_as_bytes, network_file, read_network
from simulator.studies.store import CorruptFileWarning, Store
from tests.simulator.kept_networks import PARITY, bits, content_of, random_network, signed

SPEC = "the spec of a run"


def read_from(folder, data):
    """What is read from a file with these bytes; None if it was put aside, with a warning."""
    store = Store(pathlib.Path(folder))
    path = network_file(store, SPEC)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = read_network(store, SPEC)
    put_aside = path.with_name(f"{path.name}.corrupt").exists()
    assert put_aside == (found is None) == (not path.exists())
    assert [warning.category for warning in caught] == [CorruptFileWarning] * put_aside
    return found


@pytest.mark.parametrize("model", EXAMPLES, ids=repr)
def test_the_parameters_of_every_model_keep_their_bits_and_form(model, tmp_path):
    """Models may differ from run to run: a file says which it is of. Infinities, NaNs and integers are bits too."""
    network = random_network(model)
    found = read_from(tmp_path, network_as_bytes(SPEC, network))
    assert (found.task, found.model) == (network.task, network.model)
    assert bits(found) == bits(network)


@pytest.mark.slow
def test_the_heads_of_a_kept_transformer_can_be_scored(tmp_path):
    network = GradientDescent(Transformer(depth=1, width=16, heads=2), steps=1).untrained(PARITY, 10)
    found = read_from(tmp_path, network_as_bytes(SPEC, network))
    scores = [echo_and_induction_scores(predictor, jax.random.key(0)) for predictor in (network, found)]
    np.testing.assert_array_equal(*scores)


@pytest.fixture(scope="module")
def whole():
    """The file of a network."""
    return network_as_bytes(SPEC, random_network(MLP((8,))))


@given(st.data())
def test_a_flipped_bit_anywhere_is_noticed(whole, tmp_path_factory, data):
    flipped = bytearray(whole)
    flipped[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert read_from(tmp_path_factory.mktemp("flipped"), bytes(flipped)) is None


@given(st.floats(0, 1, exclude_max=True))
def test_a_truncated_file_is_noticed(whole, tmp_path_factory, share):
    assert read_from(tmp_path_factory.mktemp("truncated"), whole[: int(share * len(whole))]) is None


@pytest.mark.parametrize(
    "data",
    [
        *(pickle.dumps({"format": 1}), b"\x93NUMPY\x01\x00", json.dumps({"format": 1}).encode()),
        *(signed({}), signed([1]), signed({"format": 1}), signed({"format": 1, "spec": SPEC})),
    ],
)
def test_a_file_of_something_else_is_put_aside(tmp_path, data):
    assert read_from(tmp_path, data) is None


@pytest.mark.parametrize("changes", [{"model": '{"type":"Gone"}'}, {"parameters": {}}, {"spec": "of another run"}])
def test_a_file_that_does_not_fit_its_model_or_its_name_is_put_aside(whole, tmp_path, changes):
    assert read_from(tmp_path, signed(content_of(whole) | changes)) is None


def test_parameters_of_another_width_or_type_are_put_aside(whole, tmp_path):
    content = content_of(whole)
    integers = {name: array.view(np.int32) for name, array in content["parameters"].items()}
    for changes in ({"model": canonical_json(MLP((9,)))}, {"parameters": integers}):
        assert read_from(tmp_path, signed(content | changes)) is None


def test_the_networks_of_the_headline_study_take_less_than_100_mb():
    study = headline.study("laptop")
    network = random_network(study.learner.tested_model, study.task)
    assert len(study.runs()) * len(network_as_bytes(study.run_spec(study.runs()[-1]), network)) < 100e6
