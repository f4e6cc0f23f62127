"""How XLA emits code for the CPU in tests that do not hang on it."""

import jaxlib

# XLA's older emitters: half as long to compile, and slower programs. A flag that an XLA
# does not know ends the process, and later ones do not know this one.
QUICK = (
    "--xla_cpu_use_fusion_emitters=false"
    if jaxlib.__version__.startswith("0.10.")
    else ""
)
