"""`python own_arguments.py FLAGS…`: what our flags and configuration file are to vLLM, as JSON."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from kaito.inference.arguments import parse
from kaito.inference.engines.vllm.opening import arguments
from kaito.inference.engines.weights import Located

if __name__ == "__main__":
    settings = parse(sys.argv[1:], os.environ)
    found = arguments(settings, Located(Path(settings.model.model), settings.model.model))
    sys.stdout.write("\n" + json.dumps(vars(found), default=str) + "\n")
