"""Train, measure and export weights of one's own: ``python -m odconv.training.train``, ``.evaluate`` and ``.atlas``."""
