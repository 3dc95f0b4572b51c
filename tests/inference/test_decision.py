"""``pipeline("decision")`` of stock transformers gives the p(z) of `specdata.posterior`, as far as it resolves it."""

import copy
import itertools
import json

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, pipeline

from specdata import prompts
from specdata.inference.decision import CONFIG, find_decision, fit_temperature, write_decision
from specdata.posterior import answer_posteriors, redshift_posterior
from specdata.targets import TARGETS
from specdata.text.tokens import load_tokenizer

PROMPT = prompts.build_row("471523098", 0.1)["prompt"]


def digits_only(tokenizer):
    """A random model whose every next token is made of digits, so that each beginning of an answer is ended."""
    torch.manual_seed(1)
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), initializer_range=0.7, **shape)).eval()
    model.lm_head = torch.nn.Linear(16, len(tokenizer))
    torch.nn.init.constant_(model.lm_head.bias, -50.0)
    texts = [str(n) for n in range(10)] + [f"{n:03}" for n in range(1000)]
    ids = tokenizer(texts, add_special_tokens=False)["input_ids"]
    model.lm_head.bias.data[[of_text[0] for of_text in ids if len(of_text) == 1]] = 0.0
    model.lm_head.bias.data[[of_text[0] for of_text in ids[:10]]] = 30.0  # so that the fourth digit follows three
    return model


@pytest.mark.parametrize(("name", "digits"), [("smollm2-135m", 1), ("llama-3.1", 3)])
def test_a_decision_is_p_of_z_at_the_digits_that_a_token_holds(name, digits, tmp_path):
    tokenizer = load_tokenizer(name)
    model = digits_only(tokenizer)
    write_decision(tmp_path, tokenizer, None)
    taken = copy.deepcopy(tokenizer)  # the pipeline adds tokens to it
    decide = pipeline("decision", model=model, tokenizer=taken, decision_config=str(tmp_path))
    found, decision = redshift_posterior(model, tokenizer, PROMPT, tail=0), find_decision(tokenizer)
    assert decision.begin == "Redshift: [0."
    assert decision.labels == [f"{n:0{digits}}" for n in range(10**digits)]
    questions = {"first": decision.question()}
    if digits == 1:
        questions["second"] = decision.question("Redshift: [0.3")
    answers = decide({"state": PROMPT[0]["content"], "questions": questions})
    by_label = found.p.reshape(10**digits, -1).sum(axis=1)
    said = [answers["first"]["probabilities"][label] for label in decision.labels]
    assert np.std(by_label) > 0.1 * np.mean(by_label)
    assert said == pytest.approx(by_label.tolist(), abs=1e-5)
    if digits == 1:
        after = found.p.reshape(10, 10, 100).sum(axis=2)[3]
        assert [*answers["second"]["probabilities"].values()] == pytest.approx((after / after.sum()).tolist(), abs=1e-5)


def test_a_decision_on_a_class_has_the_probabilities_of_its_posterior(tmp_path):
    """Of a model that ends each label that it has begun, for a decision reads the first token of each alone."""
    tokenizer, target = load_tokenizer("smollm2-135m"), TARGETS["class"]
    torch.manual_seed(1)
    shape = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **shape)).eval()
    follows = model.lm_head.weight.data.normal_(std=0.1)
    for label in target.labels:
        ids = tokenizer(target.format(label))["input_ids"] + [tokenizer.eos_token_id]
        for before, after in itertools.pairwise(ids):
            follows[after] += 100 * model.model.embed_tokens.weight.data[before]
    write_decision(tmp_path, tokenizer, target=target)
    decide = pipeline("decision", model=model, tokenizer=copy.deepcopy(tokenizer), decision_config=str(tmp_path))
    decision, asked = find_decision(tokenizer, target), prompts.build_row("471523098", "QSO", target=target)["prompt"]
    ((_, found),) = answer_posteriors(model, tokenizer, [asked], target)
    said = decide({"state": asked[0]["content"], "questions": {"class": decision.question()}})["class"]["probabilities"]
    assert found.answered == pytest.approx(found.begun, rel=1e-3)
    assert 0.02 < min(found.p) < max(found.p) < 0.9
    assert [label[: len(begin)] for label, begin in zip(target.labels, said, strict=True)] == [*said]
    assert [*said.values()] == pytest.approx(found.p.tolist(), abs=1e-5)


def test_the_temperature_makes_the_true_digits_most_probable(tmp_path):
    """Digits that are drawn from p(z) itself need no temperature, and a model that is twice as sure needs one of 2."""
    tokenizer = load_tokenizer("smollm2-135m")
    model = digits_only(tokenizer)
    p = redshift_posterior(model, tokenizer, PROMPT, tail=0).p
    z = np.random.default_rng(0).choice(len(p), size=60, p=p) / len(p)
    assert fit_temperature(model, tokenizer, [PROMPT] * 60, z) == pytest.approx(1, abs=0.2)
    for part in (model.lm_head.weight, model.lm_head.bias):
        part.data *= 2
    fitted = fit_temperature(model, tokenizer, [PROMPT] * 60, z)
    assert fitted == pytest.approx(2, abs=0.4)
    write_decision(tmp_path, tokenizer, fitted)
    assert json.loads((tmp_path / CONFIG).read_text())["temperature"] == {"choice": fitted}
