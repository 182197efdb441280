"""The models that the tests run, and what they are asked."""

import os

MODEL = os.environ["EDGESLM_TEST_MODEL"]
# With the slowest kernels it takes seconds to compute the long prompt.
SLOW = {"directory": os.path.join(os.environ["EDGESLM_TEST_MODELS"], "mistral-nemo-int4"), "kernels": "scalar", "threads": 1}
LONG_PROMPT = "The door of the cold store is open. " * 60
QUESTION = "Is the door open?"
LONG = {"max_tokens": 100_000, "ignore_stop_tokens": True}
