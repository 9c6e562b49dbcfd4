"""The programs of accelerators, made on a machine that has none: JAX lowers a program for any platform."""

import dataclasses
import functools
import re

import numpy as np
import pytest

from simulator.grid import Run
from simulator.learners import GradientDescent
from simulator.models import EXAMPLES, MLP, RWKV4, Mamba, MinGRU, SequenceModel, Transformer, precision
from simulator.tasks import SparseParity
from simulator.training import sweep

TASK = SparseParity(((2, 1), (4, 1), (5, 3), (9, 2)), 6, (4.0, 3.0, 2.0, 1.0))
ACCELERATORS = ("tpu", "cuda")
MODELS = [dataclasses.replace(m, depth=1) if isinstance(m, SequenceModel) else m for m in EXAMPLES]
_PRODUCT = re.compile(r"stablehlo\.dot_general.*: \(tensor<[\dx]*(\w+)>, tensor<[\dx]*(\w+)>\) -> tensor<[\dx]*(\w+)>")


@functools.cache
def traced(model):
    """The chunk that trains, validates and begins runs, as the sweep calls it."""
    learner = GradientDescent(
        model=model, steps=4, batch_size=16, validation_size=32, precision="mixed", side_by_side=1
    )
    mesh, run = sweep.device_mesh(), Run(5, 100, 0)
    inputs = sweep.as_inputs(learner, [run])
    states = sweep.empty_states(mesh, TASK, learner, inputs)
    return sweep.train_chunk.trace(mesh, TASK, learner, 5, states, inputs, np.ones(1, bool), np.int32(4))


@functools.cache
def program(model, platform):
    return traced(model).lower(lowering_platforms=(platform,)).as_text()


def loops(model, platform):
    return program(model, platform).count("stablehlo.while")


def products(model, platform):
    """Types of both factors and of the result."""
    return set(_PRODUCT.findall(program(model, platform)))


@pytest.mark.parametrize("model", MODELS, ids=repr)
def test_training_in_mixed_precision_multiplies_bfloat16_into_float32_on_accelerators(model):
    """Nothing is summed in bfloat16, and what layers do not compute stays float32."""
    for platform in ACCELERATORS:
        found = products(model, platform)
        assert ("bf16", "bf16", "f32") in found
        assert found <= {("bf16", "bf16", "f32"), ("f32", "f32", "f32")}


@pytest.mark.parametrize("model", [model for model in MODELS if isinstance(model, MinGRU | RWKV4 | Mamba)], ids=repr)
def test_a_recurrence_runs_token_by_token_on_a_cpu_and_as_a_parallel_scan_on_accelerators(model):
    """A parallel scan has no loop. The loops that are left are those of a model without a recurrence."""
    without = next(model for model in MODELS if isinstance(model, Transformer))
    for platform in ACCELERATORS:
        assert loops(model, platform) == loops(without, platform) == loops(without, "cpu") < loops(model, "cpu")


def test_a_cpu_without_mixed_products_multiplies_in_float32_and_accelerators_do_not_care(monkeypatch):
    monkeypatch.setattr(precision, "_cpu_has_mixed_product", lambda: False)
    model = MLP(hidden_sizes=(8, 8))
    assert products(model, "cpu") == {("f32", "f32", "f32")}
    assert ("bf16", "bf16", "f32") in products(model, "tpu")
