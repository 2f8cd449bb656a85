"""Searches over values of any of their settings.

What runs is in `plan`, how in `run` and `point`, and what came out in `summary`.
"""
