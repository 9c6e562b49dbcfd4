"""Notebooks: sources in Jupytext's percent form, and the same with outputs. ``python -m paper_reproduction.notebooks``
makes the latter from the former."""
