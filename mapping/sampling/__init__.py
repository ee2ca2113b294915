"""Who is kept, and how many records each kept one stands for.

Pure: no clock, no random source, no I/O. A decision is a function of the record, the settings and the
published tables. Read `thresholds.py` for the arithmetic, `decide.py` for one decision, `sampler.py` for how
the mapper asks.
"""
