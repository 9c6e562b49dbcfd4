"""Networks to keep, drawn without training, and their files taken apart."""

import hashlib

import jax
import numpy as np
from flax.serialization import msgpack_restore, msgpack_serialize

from simulator.learners import NetworkPredictor
from simulator.studies import networks
from simulator.tasks import SparseParity

PARITY = SparseParity(((2, 1), (3, 1), (6, 2), (12, 5)), 10)


def random_network(model, task=PARITY):
    """A network whose parameters are random bits, so that NaNs, infinities and tiny numbers are among them."""
    rng = np.random.default_rng(0)

    def leaf(shape):
        return np.frombuffer(rng.bytes(shape.size * shape.dtype.itemsize), shape.dtype).reshape(shape.shape)

    return NetworkPredictor(task, model, jax.tree.map(leaf, networks._shapes(task, model)), np.int32(3))


def bits(predictor):
    """Every bit of a predictor, and its form."""
    leaves, form = jax.tree.flatten(predictor)
    return form, [(leaf.dtype, np.asarray(leaf).tobytes()) for leaf in leaves]


def signed(content):
    """A file with these contents and their checksum."""
    body = msgpack_serialize(content)
    return hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def content_of(file):
    """What a file's bytes hold behind the checksum."""
    return msgpack_restore(file.partition(b"\n")[2])
