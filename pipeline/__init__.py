"""One script per DVC stage: read the parameters, call the library, write the outputs. No logic.

A stage spends seconds on imports, a sixth of that in the garbage collector, which finds nothing among modules that
stay. It is off until they are loaded; `stage.run` switches it on. Below `pipeline.warm` they are loaded already.
"""

import gc
import os
import sys

if sys.argv[:1] == ["-m"]:  # `python -m pipeline.STAGE`; importing this package as a library keeps the collector
    gc.disable()
    if address := os.environ.get("SENSIBERT_WARM"):
        from pipeline.warm import hand_over

        hand_over(address)
