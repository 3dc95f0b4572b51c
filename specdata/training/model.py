"""The model of a training before its launch: access, weights, tokenizer and chat template; nothing is loaded."""

import json
from pathlib import Path

from specdata.errors import SpecdataError
from specdata.training.footprint import read_config


def open_model(parsed, findings):
    """Read the config and the tokenizer of the model, and say what is wrong with them.

    Parameters
    ----------
    parsed : specdata.training.recipe.TrainingRecipe
    findings : list of (str, str)
        What is wrong is appended here.

    Returns
    -------
    config : transformers.PretrainedConfig or None
        None where it cannot be had.
    tokenizer : transformers.PreTrainedTokenizerBase or None
        None also where no training is possible with it.
    """
    from huggingface_hub import constants

    from specdata.hub import check_access
    from specdata.text.tokenizer import load_tokenizer

    name = parsed.model.model_name_or_path
    try:
        if not constants.HF_HUB_OFFLINE:  # then the cache decides
            check_access(name)
        config = read_config(name, parsed.model.model_revision)
    except SpecdataError as error:
        findings.append(("fail", str(error)))
        return None, None
    if Path(name).is_dir():
        findings += _weight_findings(Path(name))
    try:
        tokenizer = load_tokenizer(parsed.training.chat_template_path or name)
    except SpecdataError as error:
        findings.append(("fail", str(error)))
        return config, None
    if not tokenizer.chat_template:
        findings.append(("fail", f"model {name}: its tokenizer has no chat template; take the instruct model"))
        return config, None
    if tokenizer.eos_token_id is None:
        findings.append(("fail", f"model {name}: its tokenizer has no end token; set --eos_token"))
        return config, None
    if len(tokenizer) > config.get_text_config().vocab_size:
        findings.append(
            ("fail", f"model {name}: its tokenizer has {len(tokenizer):,} tokens and the model {config.vocab_size:,}")
        )
    return config, tokenizer


def _weight_findings(folder):
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        parts = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        if missing := sorted(part for part in parts if not (folder / part).is_file()):
            yield (
                "fail",
                f"model {folder}: {len(missing)} of {len(parts)} weight files are missing, such as {missing[0]}",
            )
    elif not any(folder.glob("*.safetensors")) and not any(folder.glob("pytorch_model*.bin")):
        yield "fail", f"model {folder}: holds no weights (*.safetensors)"
