"""Names of types used throughout."""

from typing import TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray
Integer: TypeAlias = int | np.integer
Scalar: TypeAlias = int | float | np.integer | np.floating
