"""Omni-Dimensional Dynamic Convolution in PyTorch, and tools to look inside it.

from odconv import ODConv2d, Settings, probe, explain, load_checkpoint
"""

from odconv.attention import HEADS, Heads, Settings
from odconv.checkpoint import load_checkpoint
from odconv.convert import Converted, convert
from odconv.explain import explain
from odconv.layer import ODConv2d
from odconv.probe import apply_settings, probe
from odconv.version import __version__

__all__ = [
    "HEADS",
    "Converted",
    "Heads",
    "ODConv2d",
    "Settings",
    "__version__",
    "apply_settings",
    "convert",
    "explain",
    "load_checkpoint",
    "probe",
]
