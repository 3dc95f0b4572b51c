"""Run `trl/scripts/sft.py`, which `trl sft` launches, for several recipes in one process: lines of JSON, one each.

    python tests/sft_in_one_process.py < settings

Its start takes ten seconds, and the recipes are many.
"""

import json
import sys

from trl.scripts import sft

for line in sys.stdin:
    script, training, model, mixture = sft.make_parser().parse_args_and_config(json.loads(line))
    sft.main(script, training, model, mixture)
