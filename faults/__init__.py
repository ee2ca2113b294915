"""Faults put to a running bridge from outside, and the judgement whether it kept its promises.

producer.py sends records whose every field follows from their number and logs what was acknowledged; proxy.py stands
between two parts and misbehaves; judge.py asks the store by SQL and compares. `python -m faults` runs the stories.
"""
