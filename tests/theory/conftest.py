"""Tests of theory that repeat many simulated studies belong to the slow tier."""


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: long batteries. Run them with `pytest -m slow`.")
