"""What `trl grpo` rewards: answers near the true redshift.

`trl grpo --reward_funcs specdata.training.reward.near_redshift` finds it by this name.
"""

import math

from specdata.prompts import parse_redshift

NEAR = 0.002  # abs(dz) at which the reward has fallen to 37 %


def near_redshift(completions, z, **columns) -> list[float]:
    """Reward sampled answers by their distance to the true redshift.

    Parameters
    ----------
    completions : list of list of dict
        Sampled answers, each as the messages that `trl` makes of it.
    z : list of float
        True redshift of each row.
    **columns
        Whatever else `trl` knows of the rows.

    Returns
    -------
    list of float
        ``exp(-abs(dz) / 0.002)`` with dz = (z_pred - z) / (1 + z), from 1 down to 0; 0 for what is no answer.
    """
    answers = [parse_redshift(messages[-1]["content"]) for messages in completions]
    return [
        0.0 if answer is None else math.exp(-abs(answer - true) / (1 + true) / NEAR)
        for answer, true in zip(answers, z, strict=True)
    ]
