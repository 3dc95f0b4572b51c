"""The card of a data set, as a browser shows it."""

import json

from markdown_it import MarkdownIt

from specdata.dataset.tokens import token_costs


def test_the_card_is_read_as_it_is_meant(mock_data):
    _, _, body = (mock_data / "README.md").read_text().split("---\n", 2)
    html = MarkdownIt("commonmark").enable("table").render(body)
    for title in ("Source", "Cuts", "Sampling", "Splits", "Binning", "Scale"):
        assert f"<h3>{title}</h3>" in html
    assert "separates the values: <code>4|5|6 , 7|5|4</code>" in html
    assert "<td>rejected</td>" not in html  # no table inside a paragraph
    assert html.count("<table>") == body.count("\n|---")
    for paragraph in html.split("<p>")[1:]:
        text = paragraph.split("</p>")[0]
        assert not any(line.startswith(("|", "- ", *(f"{n}. " for n in range(10)))) for line in text.splitlines())


def test_rows_are_measured_against_the_limit_of_their_own_config(mock_data):
    manifest = json.loads((mock_data / "manifest.json").read_text())
    costs = token_costs(mock_data, manifest, ["smollm2-135m"], most_rows=12)
    limits = {cost.name: cost.limit for cost in costs}
    assert limits["config `chat`"] == 700
    assert {limits["config `paper`"], limits["scheme `csv`"]} == {573}
    assert {cost.limit for cost in token_costs(mock_data, manifest, ["smollm2-135m"], most_rows=12, limit=50)} == {50}
