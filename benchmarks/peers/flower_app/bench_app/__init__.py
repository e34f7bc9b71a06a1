"""The reference work as a Flower app; `BENCH` in the environment holds its settings."""

import json
import os

SETTINGS = json.loads(os.environ["BENCH"])
