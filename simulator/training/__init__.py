"""Gradient descent: one run as pure functions, many runs side by side."""
