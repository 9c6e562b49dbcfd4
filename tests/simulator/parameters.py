"""Random parameters of a network, drawn without compiling anything."""

import jax
import jax.numpy as jnp
import numpy as np


def drawn(shapes, scale=0.3):
    """Normal numbers in these shapes."""
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda p: jnp.asarray(scale * rng.normal(size=p.shape), jnp.float32), shapes)


def drawn_for(model, task, scale=0.3):
    """Parameters of the model on the task, such as training might reach."""
    return drawn(jax.eval_shape(lambda: model.init(task, jax.random.key(0), task.max_context_length)), scale)
