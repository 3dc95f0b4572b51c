"""Whether an adapter has the tokenizer of its base model, whose files then need not go along."""

import json

from specdata.hub import hub_errors

# How a text is cut and padded is up to who calls it.
_RUNTIME = ("truncation", "padding")
# What changes the tokens of a conversation.
_SETTINGS = ("bos_token", "eos_token", "pad_token", "unk_token", "add_bos_token", "add_eos_token")


def same_tokenizer(folder, base_model):
    """Whether the tokenizer in a folder makes the same tokens as that of a base model on the Hub.

    Parameters
    ----------
    folder : Path
    base_model : str

    Returns
    -------
    bool
        True only where it is sure; also where the folder has none.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    def fetch(name):
        try:
            with open(hf_hub_download(base_model, name), encoding="utf-8") as stream:  # noqa: PTH123
                return stream.read()
        except EntryNotFoundError:
            return None

    def local(name):
        path = folder / name
        return path.read_text(encoding="utf-8") if path.is_file() else None

    if not (folder / "tokenizer_config.json").is_file():
        return not (folder / "tokenizer.json").is_file()
    with hub_errors(base_model):
        theirs = _summary(fetch)
    return theirs is not None and theirs == _summary(local)


def _summary(read):
    """What decides about the tokens of a conversation, None if it cannot be told."""
    model, config = read("tokenizer.json"), read("tokenizer_config.json")
    if model is None or config is None:
        return None
    try:
        model, config = json.loads(model), json.loads(config)
        chat = read("chat_template.jinja") or config.get("chat_template")
        named = [config.get(key) for key in _SETTINGS]
        named = [item["content"] if isinstance(item, dict) else item for item in named]
        return {key: value for key, value in model.items() if key not in _RUNTIME}, chat, named
    except (ValueError, AttributeError, KeyError, TypeError):
        return None
