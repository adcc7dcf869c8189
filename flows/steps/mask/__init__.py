"""`mask`: puts something harmless in the place of what must not be seen."""

from __future__ import annotations

from flows.steps.mask.compiling import compile_mask
from flows.steps.mask.functions import install_masks
from flows.steps.mask.settings import Mask, mask_problem

__all__ = ["Mask", "compile_mask", "install_masks", "mask_problem"]
