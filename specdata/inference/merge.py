"""An adapter merged into its base: a plain model, for engines that load no LoRA, and for GGUF."""

from specdata.files import new_folder
from specdata.hub import local_folder, weights_revision
from specdata.inference.adapter import read_config
from specdata.inference.decision import CONFIG, TEMPLATE
from specdata.inference.local import Generator
from specdata.inference.trained import other_revision
from specdata.inputs import read_bytes
from specdata.results import RESULTS, load_results
from specdata.text.smollm2 import PACKAGE

CONTENTS = ("*.safetensors*", "*.json", "*.jinja", "*.model", "README.md")


def merge(adapter, output, *, model=None, overwrite=False) -> list[str]:
    """Write the base model with the adapter in it, by PEFT's `merge_and_unload`, in the base's own precision.

    Parameters
    ----------
    adapter : str
        LoRA adapter, a folder or a Hub name.
    output : path-like
        Folder to make: weights, tokenizer, and the files for transformers' decisions.
    model : str, optional
        Base model, a folder or a Hub name; by default the one that the adapter names.
    overwrite : bool

    Returns
    -------
    list of str
        A sentence if the base model is not the one that the adapter was scored on.

    Raises
    ------
    SpecdataError
        If the adapter is for another model, or the folder exists.
    """
    import torch
    from transformers import AutoConfig

    folder = local_folder(adapter, "model")
    results = load_results(folder) if (folder / RESULTS).is_file() else None
    named = read_config(folder, adapter)["base_model_name_or_path"]
    model = str(model or (PACKAGE if results and results["model"]["base"] == PACKAGE else named))
    with new_folder(output, marker="config.json", contents=CONTENTS, overwrite=overwrite) as partial:
        found = Generator(model, folder, device="cpu")
        merged = found.model.merge_and_unload()
        own = None if model == PACKAGE else AutoConfig.from_pretrained(model, trust_remote_code=False).dtype
        merged.to(own or torch.float32).save_pretrained(partial)
        found.tokenizer.save_pretrained(partial)
        for name in (CONFIG, TEMPLATE):
            if (folder / name).is_file():
                (partial / name).write_bytes(read_bytes(folder / name))
    stated = results["model"]["base_revision"] if results else ""
    return other_revision("base model", found.revision or weights_revision(model), stated)
