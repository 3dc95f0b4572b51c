"""Clients of the test Hub: this process for a test, or a command with an environment of its own."""

import errno
import os
import subprocess
import sys
from pathlib import Path


def hub_environment(hub, token, home, *, xet=True):
    """Environment in which every client speaks to the test Hub, with an empty cache in `home`."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    environment |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(home), "OMP_NUM_THREADS": "1"}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    if token:
        environment["HF_TOKEN"] = token
    if not xet:
        environment["HF_HUB_DISABLE_XET"] = "1"
    return environment


def run(command, environment, cwd):
    """Run a command of specdata, trl or Python; its standard output, after a look at its exit code."""
    program = Path(sys.executable).with_name(command[0])
    done = subprocess.run(
        [program, *map(str, command[1:])], env=environment, cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def use_hub(hub, monkeypatch, token, *, xet=False):
    """Let the clients in this process speak to the test Hub, as the environment does at their import."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", not xet)
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    else:
        monkeypatch.delenv("HF_TOKEN", raising=False)


def check_full_disk(step, monkeypatch, command, line):
    """Publish by a command line while the disk is full in one step, by default the commit: one sentence says so."""

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(f"specdata.publish.publish.{step}" if step else "huggingface_hub.HfApi.create_commit", full)
        code, _, said = command(*line)
    assert (code, "Traceback" in said) == (2, False)
    assert "the disk is full" in said.splitlines()[-1]
