"""Property tests try the same values in each run, so that a change alone can turn one red.

`HYPOTHESIS_PROFILE=exploring` tries others each time; `make fuzz` does so for an hour.
"""

import os

from hypothesis import settings

settings.register_profile("repeatable", derandomize=True)
settings.register_profile("exploring")
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))
