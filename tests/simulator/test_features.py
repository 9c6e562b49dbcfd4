"""Features of networks are the values of their layers on the given samples."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simulator.learners import network_predictor
from simulator.measurement import LinearRank, extract_features, feature_layers, features
from simulator.models import Transformer, TwoBranchMLP
from simulator.models.base import as_prediction
from simulator.random.streams import stream_key
from simulator.tasks import SparseParity
from tests.simulator.parameters import drawn_for

BRANCHES, TRANSFORMER = TwoBranchMLP(16, 6, 16), Transformer(depth=1, width=16, heads=2)
PARITY = SparseParity(((2, 1), (4, 2), (7, 3)), 8)


@functools.cache
def network(model=BRANCHES, length=5):
    """A network with random parameters."""
    return network_predictor.NetworkPredictor(PARITY, model, drawn_for(model, PARITY), np.int32(length))


def test_layers_are_those_of_the_model():
    assert set(feature_layers(network())) == {"layer 0", "layer 1", "layer 2"}
    assert set(feature_layers(network(TRANSFORMER))) == {"embedding", "block 0", "readout"}


@pytest.mark.parametrize(("model", "layer"), [(BRANCHES, "layer 2"), (TRANSFORMER, "readout")])
def test_the_prediction_is_made_from_them_masked_or_not(model, layer):
    """The readout of the last layer's values is the prediction on the test samples of an evaluation."""
    predictor = network(model)
    predicted = jax.jit(lambda p: p(PARITY.sample(stream_key(3, "test"), range(50))))(predictor)
    module = model.merged(PARITY, predictor.parameters)
    last = module.readout if model is TRANSFORMER else None
    kernel, bias = (last.kernel, last.bias) if last is not None else (module.kernels[2], module.biases[2])
    for masked in (True, False):
        values = extract_features(predictor, layer, 50, seed=3, masked=masked)
        outputs = values @ np.asarray(kernel[...]) + np.asarray(bias[...])
        np.testing.assert_allclose(as_prediction(PARITY, jnp.asarray(outputs)), predicted, rtol=1e-4, atol=1e-5)


def test_pieces_change_nothing(monkeypatch):
    whole = extract_features(network(), "layer 1", 50)
    monkeypatch.setattr(network_predictor, "_PREDICTED_ACTIVATIONS", 7 * 16)
    assert network().rows_at_a_time == 7
    for n in (50, 21):
        np.testing.assert_allclose(extract_features(network(), "layer 1", n), whole[:n], rtol=1e-5, atol=1e-6)


def test_features_of_the_context_are_a_function_of_what_is_in_sight():
    """l fair bits have 2^l values, and so have their features. At l = 0 no bit is visible."""
    predictor = network()
    for length in (1, 3):
        values = extract_features(predictor, "layer 1", 50, length, masked=True)
        assert values.shape == (50, 6)
        assert len(np.unique(values.round(4), axis=0)) == 2**length
    assert LinearRank()(extract_features(predictor, "layer 1", 50, 1, masked=True)) == 1
    with pytest.raises(ValueError, match="the 50 samples are all equal"):
        LinearRank()(extract_features(predictor, "layer 1", 50, 0, masked=True))
    own, other = (extract_features(predictor, "layer 1", 50, seed=seed, masked=True) for seed in (0, 1))
    assert not np.allclose(own, other)


def test_a_masked_length_is_given_to_the_program_and_another_is_part_of_it(monkeypatch):
    """All masked lengths share one program. Here the length itself takes the place of the layer's values."""

    def length_alone(predictor, key, start, rows):
        known = isinstance(predictor.context_length, int)
        return {"layer 0": jnp.full((rows, 1), jnp.asarray(predictor.context_length, jnp.float32) + 100 * known)}

    monkeypatch.setattr(features, "_features", length_alone)
    assert extract_features(network(), "layer 0", 3, 5, masked=True).tolist() == [[5.0]] * 3
    assert extract_features(network(), "layer 0", 3, 5).tolist() == [[105.0]] * 3


def test_the_length_is_the_predictors_unless_given():
    predictor = network(length=3)
    own = extract_features(predictor, "layer 1", 50, masked=True)
    np.testing.assert_array_equal(own, extract_features(predictor, "layer 1", 50, 3, masked=True))
    longer = dataclasses.replace(predictor, context_length=np.int32(8))
    np.testing.assert_array_equal(extract_features(longer, "layer 1", 50, 3, masked=True), own)
    assert not np.allclose(extract_features(longer, "layer 1", 50, masked=True), own)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("layer 9", 10), "TwoBranchMLP has the layers layer 0, layer 1, layer 2; got 'layer 9'"),
        (("layer 1", 0), "n_samples must be between 1 and"),
        (("layer 1", 10, 9), "context_length must be between 0 and 8; got 9"),
        (("layer 1", 10, 3, -1), "seed must be between 0"),
    ],
)
def test_impossible_questions_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        extract_features(network(), *arguments)
