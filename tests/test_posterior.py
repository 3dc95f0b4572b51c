"""p(z) equals the likelihood of every answer, one by one, with tokens of one digit and of three; and its statistics."""

import numpy as np
import pytest
import torch

from specdata import SpecdataError, answers, branches, posterior
from specdata.posterior import (
    STEP,
    LabelPosterior,
    NumberPosterior,
    RedshiftPosterior,
    answer_posteriors,
    redshift_posterior,
    redshift_posteriors,
)
from specdata.targets import REDSHIFT, TARGETS, declared
from specdata.text.tokenizer import LLAMA, SMOLLM2, load_tokenizer

PROMPTS = [
    [{"role": "user", "content": text}]
    for text in ("Galaxy spectrum: 4|5|6 , 1|2|3 ,", "Galaxy spectrum: 7|5|4 ,", "Galaxy spectrum: 1 , 2|2|9 , 3|8 ,")
]


def random_llama(tokenizer, **options):
    """A small model with random weights whose next-token probabilities are far from even."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=len(tokenizer), num_key_value_heads=1, initializer_range=0.3, **shape, **options)
    return LlamaForCausalLM(config).eval()


@pytest.fixture(scope="module", params=[(SMOLLM2, 4), (LLAMA, 2)], ids=["a token a digit", "three digits a token"])
def model_and_tokenizer(request):
    """A model, its tokenizer, and in how many tokens that writes the decimals of an answer."""
    name, digits = request.param
    tokenizer = load_tokenizer(name)
    return random_llama(tokenizer), tokenizer, digits


@pytest.fixture(scope="module")
def exact(model_and_tokenizer):
    """p(z) after the prompts, which are read together and every branch followed."""
    model, tokenizer, _ = model_and_tokenizer
    return dict(redshift_posteriors(model, tokenizer, PROMPTS, tail=0))


def likelihoods(model, tokenizer, prompt, numbers, digits):
    """Likelihood of whole answers as the chat template writes them: of the start, the digits, and of `Redshift: [`."""
    asked = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=True)["input_ids"]
    answers = [[{"role": "assistant", "content": REDSHIFT.format(number * STEP)}] for number in numbers]
    written = [tokenizer.apply_chat_template(prompt + answer, return_dict=True)["input_ids"] for answer in answers]
    start = len(asked) + 6  # Red shift : [ 0 .
    assert tokenizer.decode(written[0][len(asked) : start]) == "Redshift: [0."
    ids = torch.tensor(written)[:, : start + digits]
    found = []
    with torch.inference_mode():
        for part in ids.split(20):
            logits = model(input_ids=part, logits_to_keep=digits + 7).logits[:, :-1]
            chosen = logits.gather(2, part[:, len(asked) :, None])[..., 0]
            found.append((chosen - logits.logsumexp(2)).double().exp())
    p = torch.cat(found).numpy()
    return p[:, :6].prod(axis=1), p[:, 6:].prod(axis=1), p[:, :4].prod(axis=1)


def test_it_is_the_likelihood_of_each_answer_also_where_prompts_are_read_together(model_and_tokenizer, exact):
    model, tokenizer, digits = model_and_tokenizer
    assert sorted(exact) == [0, 1, 2]
    some = np.random.default_rng(0).choice(10_000, 60, replace=False)
    for number, prompt in enumerate(PROMPTS):
        found = exact[number]
        start, of_digits, begun = likelihoods(model, tokenizer, prompt, some, digits)
        # The probability of an answer is that of its beginning, of its digits, and p only leaves out the others.
        assert found.p[some] * found.answered == pytest.approx(start * of_digits, rel=1e-3, abs=0)
        assert found.begun == pytest.approx(begun[0], rel=1e-3)
        assert found.p.max() > 20 / 10_000  # not flat, so that a mix-up of answers would show
        assert found.p.sum() == pytest.approx(1)
        assert found.unresolved == pytest.approx(0, abs=1e-12)
        assert found.z == pytest.approx(np.arange(10_000) / 10_000)


STARS = declared("type", labels=("STAR", "STARBURST", "AGN", "AGN BROADLINE"))
HEAT = declared("heat", low=100.0, high=1200.0, decimals=-1, unit="K")
METALS = declared("metals", low=-0.5, high=0.5, decimals=2, unit="dex")


@pytest.mark.parametrize("target", [TARGETS["class"], STARS, METALS, HEAT], ids=lambda one: one.name)
def test_other_targets_have_the_likelihood_of_their_answers(model_and_tokenizer, target):
    model, tokenizer, _ = model_and_tokenizer
    ((_, found),) = answer_posteriors(model, tokenizer, PROMPTS[:1], target, tail=0)
    assert isinstance(found, NumberPosterior if target.is_number else LabelPosterior)
    assert (found.p.sum(), found.beyond) == (pytest.approx(1), 0)
    assert found.answered <= found.begun
    assert found.summary()["estimate"] is None  # random weights answer nothing
    asked = tokenizer.apply_chat_template(PROMPTS[0], add_generation_prompt=True, tokenize=False)
    beginning = len(tokenizer(asked, add_special_tokens=False)["input_ids"])
    # The closing bracket counts where an answer would be the beginning of another one: AGN, or 100 of 1000.
    closed = target in (STARS, HEAT)
    numbers, likelihood = np.linspace(0, len(found.values) - 1, 7).astype(int), []
    for number in numbers:
        text = asked + target.format(found.values[number]).rpartition("]")[0] + closed * "]"
        ids = torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]])
        with torch.inference_mode():
            log_p = torch.log_softmax(model(input_ids=ids).logits[0, :-1].double(), dim=1)
        likelihood.append(log_p.gather(1, ids[0, 1:, None])[beginning - 1 :].sum().exp().item())
    assert found.p[numbers] * found.answered == pytest.approx(likelihood, rel=1e-3, abs=0)


def test_little_branches_are_left_out_and_their_share_is_stated(model_and_tokenizer, exact, monkeypatch):
    model, tokenizer, _ = model_and_tokenizer
    monkeypatch.setattr(branches, "COLUMNS", 50)  # so that the branches of a level take several passes,
    monkeypatch.setattr(branches, "TOGETHER", 1)  # and each prompt its own in the last one
    monkeypatch.setattr(branches, "FINE", 0)
    found = dict(redshift_posteriors(model, tokenizer, PROMPTS, tail=0.02, batch_size=2))
    assert sorted(found) == [0, 1, 2]
    for number, short in found.items():
        assert 0 < short.unresolved < 0.06  # at most 0.02 at each of up to three levels
        assert np.abs(np.cumsum(short.p) - np.cumsum(exact[number].p)).max() < short.unresolved
        assert short.answered == pytest.approx(exact[number].answered, rel=0.06)
        assert short.p.sum() == pytest.approx(1)


def test_narrow_and_improbable_branches_are_left_out(model_and_tokenizer, exact, monkeypatch):
    model, tokenizer, _ = model_and_tokenizer
    asked, passes = [], branches.Walk._pass
    monkeypatch.setattr(
        branches.Walk, "_pass", lambda walk, level, nodes: asked.append(nodes.size) or passes(walk, level, nodes)
    )
    found = dict(redshift_posteriors(model, tokenizer, PROMPTS, tail=1e-9))
    sizes, asked[:] = sum(asked), []
    monkeypatch.setattr(branches, "FINE", 0)
    dict(redshift_posteriors(model, tokenizer, PROMPTS, tail=1e-9))
    assert sizes < 0.7 * sum(asked)
    for number, short in found.items():
        whole = exact[number]
        assert 0 < short.unresolved < 1
        assert np.abs(np.cumsum(short.p) - np.cumsum(whole.p)).max() < 1 / 16
        assert short.answered == pytest.approx(whole.answered, rel=0.1)


def test_a_branch_of_short_and_long_numbers_is_followed_to_the_end():
    """Or the probability of 4430 K would be spread over 44300 to 44390 K, too."""
    numbers = TARGETS["teff"].answers()
    level = answers._levels([[*map(int, str(round(number))), 10] for number in numbers])[2]  # of three digits
    where = dict(zip(numbers.astype(int), level.through, strict=True))
    mass = np.full((1, len(level.token)), 1e-9)
    mass[0, [where[number] for number in (4230, 4430, 6000)]] = 0.59, 0.01, 0.4
    fine = branches._fine(level, mass)
    assert where[4430] == where[44390]
    assert not fine[0, where[4430]]
    assert fine[0, where[12340]]
    assert where[12300] == where[12390] != where[12400]


def test_prompts_are_read_in_as_many_batches_as_the_memory_asks_for(exact, model_and_tokenizer, monkeypatch):
    model, tokenizer, _ = model_and_tokenizer
    monkeypatch.setattr(posterior, "CACHE", 1)
    first = next(iter(redshift_posteriors(model, tokenizer, PROMPTS, tail=0.5)))
    assert first[0] == 2  # the longest
    asked = [posterior.prompt_ids(tokenizer, prompt, REDSHIFT, 1) for prompt in PROMPTS]
    assert posterior._batch(model, asked, [2, 0, 1]) == [2]
    monkeypatch.undo()
    assert posterior._batch(model, asked, [2, 0, 1]) == [2, 0, 1]


def test_redshifts_of_one_and_more():
    tokenizer = load_tokenizer(SMOLLM2)
    model = random_llama(tokenizer)
    below_one = redshift_posterior(model, tokenizer, PROMPTS[0], tail=0)
    below_two = redshift_posterior(model, tokenizer, PROMPTS[0], z_max=2, tail=0)
    assert len(below_two.z) == 20_000
    # The answers below 1 have the same probability, whether others are asked for or not.
    assert below_two.p[:10_000] * below_two.answered == pytest.approx(below_one.p * below_one.answered, rel=1e-3)
    assert below_two.begun == pytest.approx(below_one.begun, rel=1e-3)
    # Beyond are the tokens 1 to 9, against 2 to 9.
    asked = tokenizer.apply_chat_template(PROMPTS[0], add_generation_prompt=True, tokenize=False) + "Redshift: ["
    with torch.inference_mode():
        after = model(input_ids=torch.tensor([tokenizer(asked)["input_ids"]])).logits[0, -1].double().softmax(0)
    digits = [float(after[token]) for (token,) in tokenizer(list("123456789"), add_special_tokens=False)["input_ids"]]
    assert below_one.beyond == pytest.approx(below_one.begun * sum(digits), rel=1e-3)
    assert below_two.beyond == pytest.approx(below_two.begun * sum(digits[1:]), rel=1e-3)


def test_the_last_layer_computes_in_float32_and_is_put_back():
    tokenizer = load_tokenizer(SMOLLM2)
    exact = redshift_posterior(random_llama(tokenizer), tokenizer, PROMPTS[0], tail=0)
    model = random_llama(tokenizer).to(torch.bfloat16)
    head = model.get_output_embeddings()
    found = redshift_posterior(model, tokenizer, PROMPTS[0], tail=0)
    assert model.get_output_embeddings() is head
    # Logits in bfloat16 would leave only a few hundred different probabilities.
    assert len(np.unique(found.p)) > 5000
    assert np.abs(np.cumsum(found.p) - np.cumsum(exact.p)).max() < 0.1


def posterior_of(p, answered=1.0):
    p = np.asarray(p, dtype=float)
    rest = {"answered": answered, "beyond": 0.0, "begun": 1.0, "unresolved": 0.0}
    return RedshiftPosterior(z=np.arange(len(p)) * STEP, p=p / p.sum(), **rest)


def normal(mean, sigma, **options):
    from scipy.stats import norm

    return posterior_of(norm.pdf(np.arange(10_000) * STEP, mean, sigma), **options)


def test_statistics_of_a_known_distribution():
    from scipy.stats import norm

    found = normal(0.3, 0.02)
    assert (found.mean, found.median, found.mode, found.estimate) == pytest.approx((0.3,) * 4, abs=1e-6)
    assert found.std == pytest.approx(0.02, rel=1e-3)
    assert found.interval(0.68) == pytest.approx(norm.interval(0.68, 0.3, 0.02), abs=1e-5)
    ((low, high),) = found.highest_density(0.95)
    assert (low, high) == pytest.approx(norm.interval(0.95, 0.3, 0.02), abs=2e-4)
    assert found.pit(0.32) == pytest.approx(norm.cdf(1), abs=1e-5)
    # Gneiting and Raftery 2007, equation 21, for one standard deviation off.
    crps = 0.02 * (1 * (2 * norm.cdf(1) - 1) + 2 * norm.pdf(1) - 1 / np.sqrt(np.pi))
    assert found.crps(0.32) == pytest.approx(crps, rel=1e-4)
    assert found.outside == 0


def test_two_peaks_have_two_intervals():
    p = np.zeros(10_000)
    p[1000:1010], p[4000:4010] = 6, 4
    found = posterior_of(p)
    intervals = found.highest_density(0.9)
    assert len(intervals) == 2
    assert np.ravel(intervals) == pytest.approx([0.09995, 0.10095, 0.39995, 0.40075], abs=1.1e-4)
    assert found.mode == pytest.approx(0.1)
    certain = posterior_of(np.eye(1, 10_000, 0)[0])
    assert certain.interval(0.95) == pytest.approx((0, 0.00005), abs=1e-5)
    assert certain.median >= 0
    assert certain.crps(0.0) < STEP


def test_probability_that_is_no_redshift_counts_as_a_wrong_answer():
    lost = normal(0.3, 0.001, answered=0.001)
    assert lost.estimate is None
    assert lost.outside == pytest.approx(0.999)
    # As a sure answer of 0.9999, the end of the grid that is further from the truth.
    assert lost.crps(0.3) == pytest.approx(0.7, abs=0.01)
    assert min(lost.pit(0.3), 1 - lost.pit(0.3)) < 0.001
    little = normal(0.3, 0.02, answered=0.98)
    assert little.estimate == pytest.approx(0.3)
    whole = normal(0.3, 0.02)
    for z in (0.27, 0.3, 0.31):
        assert little.crps(z) > whole.crps(z)
        assert abs(little.pit(z) - 0.5) > abs(whole.pit(z) - 0.5)


@pytest.mark.parametrize("z", [1.3, 1.0, -0.1, np.nan])
def test_a_true_redshift_off_the_grid_is_not_scored_silently(z):
    for score in (normal(0.3, 0.02).pit, normal(0.3, 0.02).crps):
        with pytest.raises(SpecdataError, match=r"p\(z\) reaches from 0 to 0.9999; compute it with another z_max"):
            score(z)


def test_what_cannot_be_done_is_one_sentence():
    tokenizer = load_tokenizer(SMOLLM2)
    model = random_llama(tokenizer)
    with pytest.raises(SpecdataError, match=r"z_max = 1.5: give a whole number from 1 to 10"):
        redshift_posterior(model, tokenizer, PROMPTS[0], z_max=1.5)
    with pytest.raises(SpecdataError, match=r"tail = 1: give a share from 0 to below 1"):
        redshift_posterior(model, tokenizer, PROMPTS[0], tail=1)
    model.config._attn_implementation = "flash_attention_2"
    with pytest.raises(SpecdataError, match='load the model with attn_implementation="sdpa"'):
        redshift_posterior(model, tokenizer, PROMPTS[0])
    model.config.sliding_window = 64
    with pytest.raises(SpecdataError, match="whose layers all have full attention"):
        redshift_posterior(model, tokenizer, PROMPTS[0])
