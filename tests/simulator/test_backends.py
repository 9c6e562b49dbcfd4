"""The programs of accelerators, made on a machine that has none: JAX lowers a program for any platform."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simulator.grid import Run
from simulator.learners import GradientDescent
from simulator.models import EXAMPLES, RWKV4, Mamba, MinGRU, SequenceModel, Transformer, precision
from simulator.tasks import SparseParity
from simulator.training import sweep

TASK = SparseParity(((2, 1), (4, 1), (5, 3), (9, 2)), 6, (4.0, 3.0, 2.0, 1.0))
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


def products(text):
    """Types of both factors and of the result."""
    return set(_PRODUCT.findall(text))


MIXED, FULL = ("bf16", "bf16", "f32"), ("f32", "f32", "f32")


@pytest.mark.parametrize("model", MODELS, ids=repr)
def test_training_in_mixed_precision_multiplies_bfloat16_into_float32_on_accelerators(model):
    """Nothing is summed in bfloat16, and what layers do not compute stays float32."""
    found = products(program(model, "tpu"))
    assert MIXED in found
    assert found <= {MIXED, FULL}


@pytest.mark.parametrize("model", [model for model in MODELS if isinstance(model, MinGRU | RWKV4 | Mamba)], ids=repr)
def test_a_recurrence_runs_token_by_token_on_a_cpu_and_as_a_parallel_scan_on_accelerators(model):
    """A parallel scan has no loop. The loops that are left are those of a model without a recurrence."""
    without = next(model for model in MODELS if isinstance(model, Transformer))
    for platform in ("tpu", "cuda"):
        assert loops(model, platform) == loops(without, platform) == loops(without, "cpu") < loops(model, "cpu")
    assert products(program(model, "cuda")) == products(program(model, "tpu"))


def test_a_cpu_without_mixed_products_multiplies_in_float32_and_accelerators_do_not_care(monkeypatch):
    monkeypatch.setattr(precision, "_cpu_has_mixed_product", lambda: False)
    a = jnp.ones((8, 8))

    def layer_and_gradients(x, w):
        outputs, back = jax.vjp(lambda x, w: precision.linear(x, w, a[0], "mixed"), x, w)
        return back(outputs)

    layer = jax.jit(layer_and_gradients).trace(a, a)
    for platform, types in (("cpu", FULL), ("tpu", MIXED), ("cuda", MIXED)):
        assert products(layer.lower(lowering_platforms=(platform,)).as_text()) == {types}
