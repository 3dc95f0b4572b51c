#!/usr/bin/env python3
"""Damage files at random, read them, and see that each is read or refused in one sentence.

    python benchmarks/fuzz.py                           # 10,000 files of each kind; an hour of one core
    python benchmarks/fuzz.py yaml fits --count 500     # 500 of two kinds
    python benchmarks/fuzz.py fits --seed 1234          # one file again, which an earlier run has named

The seed of a file decides what is done to it: bytes changed, inserted, removed, repeated, or cut off; in YAML and JSON
also a value replaced by another kind of value. Whatever is neither a result nor a `SpecdataError` is printed with its
seed, and so is a file that takes longer than `SLOW` seconds.
"""

import argparse
import copy
import functools
import gzip
import json
import random
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

import yaml

from specdata.errors import SpecdataError

SLOW = 20.0  # s
DATA = Path(__file__).parents[1] / "tests" / "data"
RECIPE = """\
name: mock-fuzz
title: Mocks
source: &s {kind: mock, size: 12, seed: 1, z_min: 0.01, z_max: 0.5}
cuts: {spectype: GALAXY, z_min: 0.0, z_max: 0.5, dered_i_max: 18.0, good_fraction_min: 0.9}
sample: {size: 12, redshift_bins: 1, seed: 0}
splits: {train: 6, validation: 3}
configs:
  paper: {grid: {start: 3840, stop: 9160, bins: 4}, normalisation: median, scheme: paper}
  chat: {like: paper, conversation: {turns: 2}}
tokenizers: []
"""
ODD = [None, True, -1, 0, 10**30, 1e308, float("nan"), "", "x" * 300, "\0", "../x", "é", [], [[]], {}, {"a": 1}, [None]]


def damage(content, rng) -> bytes:
    """Some bytes changed, inserted, removed, repeated or cut off."""
    content = bytearray(content)
    for _ in range(rng.choice([1, 1, 1, 2, 5, 20])):
        at, length = rng.randrange(len(content) + 1), rng.choice([1, 1, 2, 8, 80, 3000])
        kind = rng.randrange(6)
        if kind == 0 and content:
            content[at % len(content)] ^= 1 << rng.randrange(8)
        elif kind == 1:
            content[at : at + length] = rng.randbytes(length)
        elif kind == 2:
            content[at:at] = rng.randbytes(length)
        elif kind == 3:
            del content[at : at + length]
        elif kind == 4:
            content[at:at] = content[at : at + length] * rng.choice([1, 2, 10])
        elif rng.random() < 0.3:
            del content[at:]
        else:
            content[at : at + length] = bytes(min(length, len(content) - at))
    return bytes(content)


def replace(content, rng):
    """One or two values within nested lists and mappings replaced by odd ones, or keys taken out or renamed."""
    content = copy.deepcopy(content)
    for _ in range(rng.choice([1, 1, 2])):
        part = content
        while isinstance(part, (dict, list)) and part:
            key = rng.choice(list(part) if isinstance(part, dict) else range(len(part)))
            if not isinstance(part[key], (dict, list)) or not part[key] or rng.random() < 0.2:
                if rng.random() < 0.15:
                    del part[key]
                elif rng.random() < 0.1 and isinstance(part, dict):
                    part[rng.choice(["", "x", "__class__", "<<"])] = part.pop(key)
                else:
                    part[key] = copy.deepcopy(rng.choice(ODD))
                break
            part = part[key]
    return content


class Kinds:
    """What each kind is made of, and how it is read; a method a kind, called with a random generator."""

    def __init__(self, folder):
        self.folder, self.data = folder, folder / "data"
        from specdata.dataset.build import build
        from specdata.dataset.recipe import DataRecipe

        build(DataRecipe.model_validate(yaml.safe_load(RECIPE)), self.data, progress=False)
        self.manifest = json.loads((self.data / "manifest.json").read_text())
        self.files = {name: (self.data / name).read_bytes() for name in self.manifest["files"]}
        self.spectra = [path.read_bytes() for path in sorted(DATA.glob("spec-*.fits"))]
        self.recipe = yaml.safe_load(RECIPE)

    def fits(self, rng):
        """A spec file, one in four compressed."""
        from specdata.spectra.specfile import check_whole, read_spectrum

        content, path = rng.choice(self.spectra), self.folder / "spec.fits"
        length = rng.choice([len(content), 11520])  # the headers, where most can go wrong
        content = damage(content[:length], rng) + content[length:]
        if rng.random() < 0.25:
            content = damage(gzip.compress(content, 1), rng) if rng.random() < 0.5 else gzip.compress(content, 1)
        path.write_bytes(content)
        try:
            read_spectrum(path)
        finally:
            check_whole(path)

    def yaml(self, rng):
        """A recipe of a data set."""
        from specdata.dataset.recipe import load_data_recipe

        path = self.folder / "recipe.yaml"
        if rng.random() < 0.5:
            path.write_bytes(damage(RECIPE.encode(), rng))
        else:
            path.write_text(yaml.safe_dump(replace(self.recipe, rng)))
        load_data_recipe(path)

    def json(self, rng):
        """A manifest, and the commands that go by it."""
        from specdata.dataset.manifest import read_manifest
        from specdata.dataset.preview import preview
        from specdata.dataset.tokens import token_costs

        path = self.data / "manifest.json"
        if rng.random() < 0.3:
            path.write_bytes(damage(json.dumps(self.manifest).encode(), rng))
        else:
            path.write_text(json.dumps(replace(self.manifest, rng)))
        manifest = read_manifest(self.data, self.data)
        token_costs(self.data, manifest, [])
        if rng.random() < 0.05:  # a figure takes half a second
            preview(self.data, "test:0", self.folder / "row.png")

    def parquet(self, rng):
        """A Parquet file of a data set, whose hash in the manifest fits, as a source of another data set."""
        from specdata.dataset.parquet import open_file, read_rows
        from specdata.dataset.rows import schema
        from specdata.spectra.readers.rows import spectra_of

        name = rng.choice(list(self.files))
        path = self.data / name
        try:
            content = self.files[name]
            tail = rng.choice([len(content), 3000])  # the footer
            path.write_bytes(content[:-tail] + damage(content[-tail:], rng))
            for table in read_rows([open_file(self.data, name)], 0, 12):
                if name.startswith("spectra/"):
                    list(spectra_of(table, name))
                else:
                    table.cast(schema("text")).to_pylist()
        finally:
            path.write_bytes(self.files[name])

    @functools.cached_property
    def adapter(self):
        """Folder of a LoRA adapter, its config, its weights, and the small model that it is for."""
        import torch
        from peft import LoraConfig, get_peft_model
        from transformers import LlamaConfig, LlamaForCausalLM

        torch.manual_seed(0)
        shape = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
        base = LlamaForCausalLM(LlamaConfig(vocab_size=16, **shape))
        folder, config = self.folder / "adapter", LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM")
        get_peft_model(copy.deepcopy(base), config).save_pretrained(folder)
        content = json.loads((folder / "adapter_config.json").read_text()) | {"base_model_name_or_path": "org/base"}
        (folder / "adapter_config.json").write_text(json.dumps(content))
        return folder, content, (folder / "adapter_model.safetensors").read_bytes(), base

    def _load_adapter(self, rng):
        from specdata.hub import weights_revision
        from specdata.inference.adapter import check_rank, read_config
        from specdata.inference.local import Generator
        from specdata.publish.compatible import check_lora
        from specdata.publish.scan import scan

        folder, _, _, base = self.adapter
        config = read_config(folder)
        weights_revision(folder)
        check_rank(folder, config)
        check_lora(folder)
        scan({name: folder / name for name in ("adapter_config.json", "adapter_model.safetensors")})
        if rng.random() < 0.2:  # which takes longer than all the rest
            generator = object.__new__(Generator)
            generator.name, generator.model = "org/base", copy.deepcopy(base)
            generator.add_adapter(folder)

    def lora(self, rng):
        """The config of an adapter."""
        folder, config, _, _ = self.adapter
        path = folder / "adapter_config.json"
        content = damage(json.dumps(config).encode(), rng) if rng.random() < 0.3 else None
        path.write_bytes(content if content is not None else json.dumps(replace(config, rng)).encode())
        try:
            self._load_adapter(rng)
        finally:
            path.write_text(json.dumps(config))

    def safetensors(self, rng):
        """The weights of an adapter; its head is more than half of the file."""
        folder, _, weights, _ = self.adapter
        path, size = folder / "adapter_model.safetensors", 8 + int.from_bytes(weights[:8], "little")
        if rng.random() < 0.5:
            path.write_bytes(damage(weights, rng))
        else:
            head = json.dumps(replace(json.loads(weights[8:size]), rng)).encode()
            path.write_bytes(len(head).to_bytes(8, "little") + head + weights[size:])
        try:
            self._load_adapter(rng)
        finally:
            path.write_bytes(weights)


def main(kinds, numbers) -> int:
    """Try the files of these numbers, which are their seeds, of each kind; how many were neither read nor refused."""
    wrong = 0
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        made = Kinds(Path(folder))
        for kind in kinds or ("fits", "parquet", "json", "yaml", "lora", "safetensors"):
            if kind in ("lora", "safetensors"):
                made.adapter  # noqa: B018, imports torch, which is not to count as slow
            read = refused = 0
            for number in numbers:
                begin = time.monotonic()
                try:
                    getattr(made, kind)(random.Random(f"{kind} {number}"))
                    read += 1
                except SpecdataError as error:
                    refused += 1
                    if len(str(error).splitlines()) != 1 or len(str(error)) > 3000:
                        wrong += 1
                        print(f"{kind} {number}: not one sentence: {str(error)[:200]!r}")
                except Exception:
                    wrong += 1
                    print(f"{kind} {number}: {traceback.format_exc(limit=-3)}", flush=True)
                if (took := time.monotonic() - begin) > SLOW:
                    wrong += 1
                    print(f"{kind} {number}: took {took:.0f} s", flush=True)
            print(f"{kind:<8} {read} read, {refused} refused in one sentence", flush=True)
    print(f"{wrong} were neither")
    return wrong


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", help="fits, parquet, json, yaml, lora, safetensors; by default all")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, help="only the file with this number")
    options = parser.parse_args()
    numbers = range(options.count) if options.seed is None else [options.seed]
    sys.exit(main(options.kinds, numbers) > 0)
