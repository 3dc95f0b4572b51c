"""What a recipe asks of the machine that it is launched on: packages, kernels, number formats, GPUs, disk."""

import os
import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from specdata.errors import SpecdataError, one_line
from specdata.training.footprint import DEVICES, matrix_rate

_FLASH = ("flash_attention_2", "flash_attention_3", "flash_attention_4")


@dataclass(frozen=True, kw_only=True)
class Device:
    """What a training runs on.

    Attributes
    ----------
    name : str
    count : int
        GPUs of all nodes; 1 for a CPU.
    memory : float
        Bytes of each.
    rate : float
        FLOP/s of each, and whether that was `measured` or stands in a data sheet.
    measured, here, gpu : bool
        Whether it is the one of this machine, and a GPU.
    """

    name: str
    count: int
    memory: float
    rate: float
    measured: bool
    here: bool
    gpu: bool


def find_device(recipe, name=None, count=None):
    """The device that a recipe is meant for: the one named, or else what this machine has.

    Parameters
    ----------
    recipe : specdata.training.recipe.TrainingRecipe
    name : str, optional
        One of `specdata.training.footprint.DEVICES`.
    count : int, optional
        GPUs of all nodes; by default what the launch asks for.

    Returns
    -------
    Device
    """
    import torch

    asked = count or recipe.launch.num_processes or 1
    if name is not None:
        if name not in DEVICES:
            raise SpecdataError(f"--device {name}: give one of {', '.join(DEVICES)}")
        memory, rate = DEVICES[name]
        return Device(
            name=name, count=asked, memory=memory * 1e9, rate=rate * 1e12, measured=False, here=False, gpu=True
        )
    if torch.cuda.is_available() and not recipe.on_cpu:
        made = torch.cuda.get_device_properties(0)
        return Device(
            name=made.name, count=asked, memory=float(made.total_memory), rate=matrix_rate("cuda", torch.bfloat16),
            measured=True, here=True, gpu=True,
        )  # fmt: skip
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    rate = matrix_rate("cpu", torch.float32, seconds=0.3)
    return Device(name="the CPU", count=1, memory=float(memory), rate=rate, measured=True, here=True, gpu=False)


def machine_findings(recipe, device):
    """What of a recipe a machine has not got; yields pairs of level (``fail`` or ``warn``) and sentence."""
    training, model = recipe.training, recipe.model
    kwargs = training.model_init_kwargs or {}
    attention = model.attn_implementation or "sdpa"
    quantised = model.load_in_4bit or model.load_in_8bit
    if quantised and find_spec("bitsandbytes") is None:
        yield "fail", "load_in_4bit or load_in_8bit: bitsandbytes is not installed; pip install bitsandbytes"
    if any(word in _value(training.optim) for word in ("8bit", "paged")) and find_spec("bitsandbytes") is None:
        yield "fail", f"optim {_value(training.optim)}: bitsandbytes is not installed; pip install bitsandbytes"
    if _sharding(recipe) == "DEEPSPEED" and find_spec("deepspeed") is None:
        yield "fail", "the accelerate config asks for DeepSpeed, which is not installed; pip install deepspeed"
    if training.use_liger_kernel and find_spec("liger_kernel") is None:
        yield "fail", "use_liger_kernel: liger-kernel is not installed; leave it out, or pip install liger-kernel"
    for tracker in training.report_to or []:
        if find_spec(tracker) is None and tracker not in ("all", "none", "azure_ml", "codecarbon"):
            yield "fail", f"report_to {tracker}: {tracker} is not installed; pip install {tracker}, or report_to none"
    yield from _kernel_findings(attention, kwargs, training, device)
    if training.torch_compile and device.here and device.gpu and find_spec("triton") is None:
        yield "fail", "torch_compile: triton is not installed; reinstall torch for this GPU, or --torch_compile false"
    if training.torch_compile and device.here and not any(map(shutil.which, ("cc", "gcc", "g++", "clang"))):
        yield "fail", "torch_compile: there is no C compiler here; install gcc, or add --torch_compile false"
    if not device.gpu:
        if training.bf16 or model.dtype in ("bfloat16", "auto"):
            yield (
                ("warn" if recipe.on_cpu else "fail"),
                "bfloat16 on a CPU takes hours a step on most of them; add --use_cpu true --bf16 false --dtype "
                "float32, or name the GPU that it is meant for by --device",
            )
        elif not recipe.on_cpu:
            yield (
                "warn",
                "there is no GPU here and the training will run on the CPU; name the one it is meant for by --device",
            )
        if training.torch_compile:
            yield "warn", "torch_compile takes minutes on a CPU and wins little; add --torch_compile false"
    elif device.here:
        import torch

        if training.bf16 and not torch.cuda.is_bf16_supported(including_emulation=False):
            yield "fail", f"{device.name} has no bfloat16; add --bf16 false --fp16 true --dtype float16"
        visible = torch.cuda.device_count()
        if visible > 1 and (recipe.launch.num_processes or 1) == 1:
            yield (
                "fail",
                f"{visible} GPUs are visible and one process would be launched, which trl refuses; add "
                f"--accelerate_config multi_gpu --num_processes {visible}, or set CUDA_VISIBLE_DEVICES=0",
            )
        if device.count > visible and (recipe.launch.num_machines or 1) == 1:
            yield "fail", f"{device.count} GPUs are asked for and {visible} are here; change --num_processes"
    if model.dtype == "float32" and device.gpu:
        yield "warn", "dtype float32 takes twice the memory of bfloat16 and converts each weight in every step"


def _kernel_findings(attention, kwargs, training, device):
    from transformers.utils import is_kernels_available

    flash = attention in _FLASH or "/" in attention
    if flash and not device.gpu:
        yield "fail", f"attn_implementation {attention}: runs on GPUs only; add --attn_implementation sdpa"
    elif flash and find_spec("flash_attn") is None and not is_kernels_available():
        yield (
            "fail",
            f"attn_implementation {attention}: neither flash-attn nor a fitting release of kernels is installed; "
            "pip install 'transformers[kernels]', or add --attn_implementation sdpa",
        )
    if kwargs.get("use_kernels") and not is_kernels_available():
        yield "fail", "use_kernels: no fitting release of kernels is installed; pip install 'transformers[kernels]'"
    free = training.padding_free or (training.packing and training.packing_strategy != "wrapped")
    if free and not flash:
        yield (
            "warn",
            f"packing with attn_implementation {attention} keeps the samples apart by a mask over the whole batch, "
            "which is right and slow; a flash kernel is what it is made for",
        )
    if training.packing and training.packing_strategy == "wrapped":
        yield "warn", "packing_strategy wrapped cuts samples in the middle and lets them see each other; take bfd"


def disk_findings(recipe, trainable):
    """Whether the output can be written, and has room for what will be saved."""
    output = Path(recipe.training.output_dir)
    there = output if output.exists() else next(parent for parent in output.absolute().parents if parent.exists())
    if not (there.is_dir() and os.access(there, os.W_OK)):
        yield "fail", f"output_dir {output}: {there} may not be written to; choose another"
        return
    # Adapter in float32, its two moments, and the tokenizer.
    kept = recipe.training.save_total_limit or 10
    needed = (12 * trainable + 20e6) * (kept + 1)
    free = shutil.disk_usage(there).free
    if free < needed:
        yield (
            "fail",
            f"output_dir {output}: {free / 1e9:.1f} GB are free and up to {needed / 1e9:.1f} GB will be saved; free "
            "some, or lower save_total_limit",
        )
    if any(output.glob("checkpoint-*")) and not recipe.training.resume_from_checkpoint:
        yield (
            "warn",
            f"output_dir {output}: holds checkpoints of an earlier run, which would be mixed with the new ones; add "
            "--resume_from_checkpoint, or choose another",
        )
    if (resume := recipe.training.resume_from_checkpoint) and resume != "True" and not Path(resume).is_dir():
        yield "fail", f"resume_from_checkpoint {resume}: there is no such folder"


def shards(recipe, count):
    """Devices that a model is divided over, by the accelerate config."""
    return count if _sharding(recipe) in ("FSDP", "DEEPSPEED") else 1


def _sharding(recipe):
    launch = recipe.launch
    if launch.use_fsdp or launch.use_deepspeed:
        return "FSDP" if launch.use_fsdp else "DEEPSPEED"
    if not launch.config_file:
        return None
    from accelerate.commands.config.config_args import load_config_from_file

    try:
        return _value(load_config_from_file(launch.config_file).distributed_type)
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = one_line(error)
        raise SpecdataError(f"{launch.config_file}: accelerate cannot read it ({reason})") from None


def _value(item):
    return str(getattr(item, "value", item))
