"""p(z) equals the likelihood of every answer, one by one, with tokens of one digit and of three."""

import numpy as np
import pytest
import torch

from specdata import SpecdataError
from specdata.posterior import STEP, RedshiftPosterior, redshift_posterior
from specdata.prompts import format_redshift
from specdata.text.tokenizer import LLAMA, SMOLLM2, load_tokenizer

PROMPT = [{"role": "user", "content": "Galaxy spectrum: 4|5|6 , 1|2|3 ,"}]


def random_llama(tokenizer, **options):
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=len(tokenizer), num_key_value_heads=1, initializer_range=0.3, **shape, **options)
    return LlamaForCausalLM(config).eval()


def likelihoods(model, tokenizer, numbers, digits):
    """Log-likelihood of the digits of answers, each a whole sequence of its own, as the chat template writes it."""
    asked = tokenizer.apply_chat_template(PROMPT, add_generation_prompt=True, return_dict=True)["input_ids"]
    answers = [[{"role": "assistant", "content": format_redshift(number * STEP)}] for number in numbers]
    written = [tokenizer.apply_chat_template(PROMPT + answer, return_dict=True)["input_ids"] for answer in answers]
    start = len(asked) + 6  # Red shift : [ 0 .
    assert tokenizer.decode(written[0][len(asked) : start]) == "Redshift: [0."
    ids = torch.tensor(written)[:, : start + digits]
    found = []
    with torch.inference_mode():
        for part in ids.split(50):
            logits = model(input_ids=part, logits_to_keep=digits + 1).logits[:, :-1]
            chosen = logits.gather(2, part[:, start:, None])[..., 0]
            found.append((chosen - logits.logsumexp(2)).double().sum(1))
    return torch.cat(found).numpy()


@pytest.mark.parametrize(("name", "digits"), [(SMOLLM2, 4), (LLAMA, 2)])
def test_it_is_the_likelihood_of_every_answer(name, digits):
    tokenizer = load_tokenizer(name)
    model = random_llama(tokenizer)
    posterior = redshift_posterior(model, tokenizer, PROMPT, tail=0)
    brute = np.exp(likelihoods(model, tokenizer, range(10_000), digits))
    assert posterior.inside == pytest.approx(brute.sum(), rel=1e-4)
    assert posterior.p == pytest.approx(brute / brute.sum(), rel=1e-3, abs=0)
    assert posterior.p.max() > 20 / 10_000  # not flat, so that a mix-up of answers would show
    assert posterior.unresolved == 0
    assert posterior.z == pytest.approx(np.arange(10_000) / 10_000)


def test_little_branches_are_left_out_and_their_share_is_stated():
    tokenizer = load_tokenizer(SMOLLM2)
    model = random_llama(tokenizer)
    exact = redshift_posterior(model, tokenizer, PROMPT, tail=0)
    short = redshift_posterior(model, tokenizer, PROMPT, tail=0.01)
    assert 0 < short.unresolved < 0.03  # at most 0.01 at each of three levels
    assert np.abs(np.cumsum(short.p) - np.cumsum(exact.p)).max() < short.unresolved
    assert short.p.sum() == pytest.approx(1)


def test_redshifts_of_one_and_more():
    tokenizer = load_tokenizer(SMOLLM2)
    model = random_llama(tokenizer)
    below_one = redshift_posterior(model, tokenizer, PROMPT, tail=0.1)
    below_two = redshift_posterior(model, tokenizer, PROMPT, z_max=2, tail=0)
    assert len(below_two.z) == 20_000
    assert below_two.p[:10_000].sum() < 1
    # After the same beginning, the answers below 1 keep their shares.
    exact = redshift_posterior(model, tokenizer, PROMPT, tail=0)
    assert below_two.p[:10_000] / below_two.p[:10_000].sum() == pytest.approx(exact.p, rel=1e-3)
    # What was beyond: the tokens 1 to 9, against 2 to 9.
    ids = tokenizer(["1", "2", "9"], add_special_tokens=False)["input_ids"]
    asked = tokenizer.apply_chat_template(PROMPT, add_generation_prompt=True, tokenize=False) + "Redshift: ["
    with torch.inference_mode():
        after = model(input_ids=torch.tensor([tokenizer(asked)["input_ids"]])).logits[0, -1].softmax(0)
    digits = [float(after[token]) for (token,) in tokenizer(list("123456789"), add_special_tokens=False)["input_ids"]]
    assert len(ids) == 3
    assert below_one.beyond == pytest.approx(sum(digits), rel=1e-4)
    assert below_two.beyond == pytest.approx(sum(digits[1:]), rel=1e-4)


def posterior_of(p):
    p = np.asarray(p, dtype=float)
    rest = {"inside": 0.9, "beyond": 0.0, "unresolved": 0.0, "log_start": 0.0}
    return RedshiftPosterior(z=np.arange(len(p)) * STEP, p=p / p.sum(), **rest)


def test_statistics_of_a_known_distribution():
    from scipy.stats import norm

    z = np.arange(10_000) * STEP
    posterior = posterior_of(norm.pdf(z, 0.3, 0.02))
    assert posterior.mean == posterior.median == posterior.mode == pytest.approx(0.3)
    assert posterior.std == pytest.approx(0.02, rel=1e-3)
    assert posterior.interval(0.68) == pytest.approx(norm.interval(0.68, 0.3, 0.02), abs=1e-5)
    ((low, high),) = posterior.highest_density(0.95)
    assert (low, high) == pytest.approx(norm.interval(0.95, 0.3, 0.02), abs=2e-4)
    assert posterior.pit(0.32) == pytest.approx(norm.cdf(1), abs=1e-5)
    # Gneiting and Raftery 2007, equation 21, for one standard deviation off.
    crps = 0.02 * (1 * (2 * norm.cdf(1) - 1) + 2 * norm.pdf(1) - 1 / np.sqrt(np.pi))
    assert posterior.crps(0.32) == pytest.approx(crps, rel=1e-4)
    assert posterior.crps(2.0) == pytest.approx(2.0 - 0.3 - 0.02 / np.sqrt(np.pi), rel=1e-4)
    assert posterior.outside == pytest.approx(0.1)


def test_two_peaks_have_two_intervals():
    p = np.zeros(10_000)
    p[1000:1010], p[4000:4010] = 6, 4
    posterior = posterior_of(p)
    found = posterior.highest_density(0.9)
    assert len(found) == 2
    assert np.ravel(found) == pytest.approx([0.09995, 0.10095, 0.39995, 0.40075], abs=1.1e-4)
    assert posterior.mode == pytest.approx(0.1)
    certain = posterior_of(np.eye(1, 10_000, 0)[0])
    assert certain.interval(0.95) == pytest.approx((0, 0.00005), abs=1e-5)
    assert certain.median >= 0
    assert certain.crps(0.0) < STEP


def test_what_cannot_be_done_is_one_sentence():
    tokenizer = load_tokenizer(SMOLLM2)
    model = random_llama(tokenizer)
    with pytest.raises(SpecdataError, match=r"z_max = 1.5: give a whole number from 1 to 10"):
        redshift_posterior(model, tokenizer, PROMPT, z_max=1.5)
    with pytest.raises(SpecdataError, match=r"tail = 1: give a share from 0 to below 1"):
        redshift_posterior(model, tokenizer, PROMPT, tail=1)
    model.config.sliding_window = 64
    with pytest.raises(SpecdataError, match="whose layers all have full attention"):
        redshift_posterior(model, tokenizer, PROMPT)
