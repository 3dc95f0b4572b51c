#!/usr/bin/env python3
"""Slurm's commands as datatrove calls them: sbatch, srun and scontrol, by the name that this file is called by.

A job runs on this machine, in the background, once the jobs that it depends on have ended well. Where ``$FAKE_SLURM``
holds a file ``fail``, of lines such as ``specdata-read 1``, that task of that job fails.
"""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

HOME = Path(os.environ["FAKE_SLURM"])


def sbatch(arguments):
    script = Path(arguments[-1]).read_text()
    number = len(list(HOME.glob("*.job"))) + 1
    (HOME / f"{number}.job").write_text(script)
    (HOME / f"{number}.arguments").write_text("\n".join(arguments[:-1]))
    subprocess.Popen(
        [sys.executable, __file__, "--run", str(number)], start_new_session=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    print(f"Submitted batch job {number}")


def work(number):
    script, arguments = (HOME / f"{number}.job").read_text(), (HOME / f"{number}.arguments").read_text()
    options = dict(re.findall(r"^#SBATCH --([a-z-]+)=(.*)$", script, re.MULTILINE))
    for wanted in re.findall(r"afterok:(\d+)", arguments + options.get("dependency", "")):
        while not (HOME / f"{wanted}.ended").exists():
            time.sleep(0.05)
        if (HOME / f"{wanted}.ended").read_text() != "0":
            return "DependencyNeverSatisfied"
    if "merge_stats" in script:
        return "0"
    first, last = map(int, options["array"].split("%")[0].split("-"))
    failing = (HOME / "fail").read_text().splitlines() if (HOME / "fail").exists() else []
    worst = 0
    for task in range(first, last + 1):
        environment = os.environ | {"SLURM_ARRAY_TASK_ID": str(task), "SLURM_NODELIST": "here", "RUN_OFFSET": "0"}
        if f"{options['job-name']} {task}" in failing:
            worst = 1
            continue
        with (HOME / f"{number}.{task}.log").open("w") as log:
            done = subprocess.run(
                ["bash", HOME / f"{number}.job"], env=environment, stdout=log, stderr=log, check=False
            )
        worst = max(worst, done.returncode)
    return str(worst)


name, rest = Path(sys.argv[0]).name, sys.argv[1:]
if rest[0] == "--run":
    ended = HOME / f"{rest[1]}.ended"
    unfinished = ended.with_suffix(".unfinished")
    unfinished.write_text(work(int(rest[1])))
    unfinished.rename(ended)
elif name == "sbatch":
    sbatch(rest)
elif name == "srun":
    os.execvp(rest[3], rest[3:])  # after -l -n 1
else:
    print(rest[-1])
