"""Mapping and delivering: a lane does it for one partition of the spool.

Read `lane.py` first.
"""
