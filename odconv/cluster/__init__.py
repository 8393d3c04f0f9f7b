"""Passes through a network on other machines: what is sent, who answers, and how it is asked for.

``messages`` is what crosses the wire, data alone. ``answering`` computes; ``serving`` puts it on Ray Serve and is the only
module that imports Ray. ``client`` asks over HTTP with what Python has. ``python -m odconv.cluster`` starts it.
"""
