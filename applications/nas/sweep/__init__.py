"""Searches over values of any of their settings.

What runs is in `plan`, and of several sweeps with one question in `study` and `studies`; how in `run` and `point`, and
what came out in `summary` and `study_summary`.
"""
