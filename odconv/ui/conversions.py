"""Networks that ODConv is plugged into, on the CPU: what that does to them, which is kept, and how long a pass takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from odconv import plugging
from odconv.plugging import Conversion, Plan, Timing
from odconv.ui import devices, memory, parts
from odconv.ui.budget import MIB
from odconv.ui.engine import BUNDLED, set_up_torch
from odconv.ui.keeping import HOUR, keep

CONVERSIONS = 16 * MIB


def plug_in(plan: Plan) -> Conversion:
    """What ``plan`` does to its network, see :func:`odconv.plugging.plug_in`.

    Raises:
        BusyError: others have kept the device for too long.
        PluggingError: it would take too much.
        CheckpointError: the bundled weights cannot be read.
    """
    plugging.check_size(plan)
    return _plug_in(plan.simplest, devices.deadline())


def time_passes(plan: Plan) -> Timing:
    """How long a pass takes before and after ``plan``; measured anew each time. Raises as ``plug_in``."""
    plugging.check_size(plan)
    with _work_on_cpu(devices.deadline()):
        return plugging.time_passes(plan, BUNDLED / plugging.TRAINED)


@keep(HOUR, CONVERSIONS)
def _plug_in(plan: Plan, _deadline: float) -> Conversion:
    with _work_on_cpu(_deadline):
        return plugging.plug_in(plan, BUNDLED / plugging.TRAINED)


@contextmanager
def _work_on_cpu(deadline: float) -> Iterator[None]:
    """Hold the CPU for work that takes hundreds of MB, and give them back to the machine: so much is not needed again soon."""
    set_up_torch()
    with devices.hold("cpu", deadline):
        try:
            with parts.pause():  # it takes seconds, nearly all of them outside of Python
                yield
        finally:
            memory.give_back()
