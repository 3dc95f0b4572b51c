"""The reference of all keys of a data recipe, which ``python -m specdata.dataset.reference`` prints."""

import yaml

from specdata.dataset.recipe import (
    SOURCES,
    Augment,
    Conversation,
    Cuts,
    DataRecipe,
    Grid,
    JoinedTable,
    OwnAxis,
    OwnTarget,
    Sample,
    Section,
    Splits,
    TextConfig,
)


def recipe_reference() -> str:
    """Describe every key of a data recipe: Markdown tables with name, type, default and meaning."""
    sections = {"The recipe": DataRecipe, "`axis`": OwnAxis}
    sections |= {f"`source`, kind `{kind}`": source for kind, source in SOURCES.items()}
    sections |= {"`cuts`": Cuts, "`sample`": Sample, "`splits`": Splits, "`augment`": Augment}
    sections |= {"`configs.NAME`": TextConfig}
    sections |= {"`configs.NAME.grid`": Grid, "`configs.NAME.target`": OwnTarget}
    sections |= {"`configs.NAME.conversation`": Conversation, "`tables`": JoinedTable}
    lines = []
    for heading, section in sections.items():
        lines += [f"## {heading}", "", section.__doc__.strip(), ""]
        lines += ["| key | values | default | meaning |", "|---|---|---|---|"]
        for key, schema in section.model_json_schema()["properties"].items():
            field = section.model_fields[key]
            if field.is_required() or isinstance(field.default, Section):
                default = "(required)" if field.is_required() else "(see there)"
            else:
                default = f"`{yaml.safe_dump(field.default, default_flow_style=True).splitlines()[0]}`"
            lines.append(f"| `{key}` | {_values(schema)} | {default} | {schema['description']} |")
        lines.append("")
    return "\n".join(lines)


def _values(schema) -> str:
    """The type of a key in words, and what its values are limited to, from its JSON schema."""
    if "anyOf" in schema:
        return " or ".join(_values(part) for part in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    if "items" in schema:
        return f"list: {_values(schema['items'])}"
    if "type" not in schema or schema["type"] == "object":
        return "section"
    limits = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    words = {"integer": "whole number", "string": "text"}.get(schema["type"], schema["type"])
    return " ".join([words, *(f"{sign} {schema[key]:g}" for key, sign in limits.items() if key in schema)])


if __name__ == "__main__":
    print(recipe_reference())
