"""The parts of ``benchmarks/paired.py``: pictures, arms, training, statistics."""
