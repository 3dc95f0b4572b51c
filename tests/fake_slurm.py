#!/usr/bin/env python3
"""Slurm's commands as datatrove calls them: sbatch, srun and scontrol, by the name that this file is called by.

A job runs on this machine before sbatch returns, if the jobs that it depends on have ended well. Where ``$FAKE_SLURM``
holds a file ``fail``, of lines such as ``specdata-read_shard 1``, that task of that job fails.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

HOME = Path(os.environ["FAKE_SLURM"])


def sbatch(arguments):
    script = Path(arguments[-1]).read_text()
    number = len(list(HOME.glob("*.job"))) + 1
    (HOME / f"{number}.job").write_text(script)
    (HOME / f"{number}.arguments").write_text("\n".join(arguments[:-1]))
    (HOME / f"{number}.ended").write_text(work(number, script, "\n".join(arguments)))
    print(f"Submitted batch job {number}")


def work(number, script, arguments):
    options = dict(re.findall(r"^#SBATCH --([a-z-]+)=(.*)$", script, re.MULTILINE))
    for wanted in re.findall(r"afterok:(\d+)", arguments + options.get("dependency", "")):
        if (HOME / f"{wanted}.ended").read_text() != "0":
            return "DependencyNeverSatisfied"
    if "merge_stats" in script:
        return "0"
    first, last = map(int, options["array"].split("%")[0].split("-"))
    failing = (HOME / "fail").read_text().splitlines() if (HOME / "fail").exists() else []
    worst = 0
    for task in range(first, last + 1):
        if f"{options['job-name']} {task}" in failing:
            worst = 1
            continue
        environment = os.environ | {"SLURM_ARRAY_TASK_ID": str(task), "SLURM_NODELIST": "here", "RUN_OFFSET": "0"}
        command = ["bash", HOME / f"{number}.job"]
        with (HOME / f"{number}.{task}.log").open("w") as log:
            worst = max(worst, subprocess.run(command, env=environment, stdout=log, stderr=log, check=False).returncode)
    return str(worst)


name, rest = Path(sys.argv[0]).name, sys.argv[1:]
if name == "sbatch":
    sbatch(rest)
elif name == "srun":
    os.execvp(rest[3], rest[3:])  # after -l -n 1
else:
    print(rest[-1])
