"""What is wrong with a recipe, as one sentence."""

import inspect
import typing


def one_sentence(problem, content, model):
    """Say what pydantic found as: the key, the value, what is allowed.

    Parameters
    ----------
    problem : dict
        One of the errors of a `pydantic.ValidationError`.
    content : dict
        What was validated.
    model : type
        The `pydantic.BaseModel` that it was validated by.

    Returns
    -------
    str
    """
    # The discriminator of a union stands in `loc` after "source" although no such key is in the file, and "[key]" after
    # a bad name in `configs`.
    location = [part for i, part in enumerate(problem["loc"]) if not (i == 1 and problem["loc"][0] == "source")]
    location = [part for part in location if part != "[key]"]
    key = ".".join(map(str, location))
    kind, value, context = problem["type"], problem["input"], problem.get("ctx", {})
    there = ", ".join(_allowed(location, content, model)) if kind in {"extra_forbidden", "missing"} else ""
    if kind in {"model_type", "model_attributes_type"}:
        inside = ", ".join(_allowed([*location, ""], content, model))
        return f"{key} = {value!r}, but it is a section with the keys {inside}"
    if kind == "dict_type":
        return f"{key} = {value!r}, but it is a section with one entry for each text config"
    if kind == "string_pattern_mismatch":
        return f"{key} = {value!r}, but it may hold lower-case letters, digits and . _ - between two of the former"
    if kind == "extra_forbidden":
        return f"unknown key {key!r}; the keys allowed there are {there}"
    if kind == "missing":
        old = key == "configs" and "grid" in content
        moved = " (grid and scheme now stand in each of its entries)" if old else ""
        return f"the key {key!r} is missing{moved}; the keys there are {there}"
    if kind == "union_tag_invalid":
        return f"{key}.kind = {context['tag']!r}; the kinds are {context['expected_tags']}"
    if kind == "union_tag_not_found":
        kinds = ", ".join(map(repr, _kinds(model.model_fields[key].annotation)))
        return f"the key '{key}.kind' is missing; the kinds are {kinds}"
    if kind == "value_error":
        return f"{key}: {context['error']}" if key.startswith("configs") else str(context["error"])
    message = problem["msg"][0].lower() + problem["msg"][1:]
    return f"{key} = {value!r}, but the {message}" if message.startswith("input") else f"{key} = {value!r}: {message}"


def _allowed(location, content, model):
    """Keys of the section that the last part of a location lies in."""
    for part in location[:-1]:
        if part not in model.model_fields:  # the name that somebody gave to an entry
            continue
        found = model.model_fields[part].annotation
        if type(None) in typing.get_args(found):  # a section that may be left out
            found = next(kind for kind in typing.get_args(found) if kind is not type(None))
        if not inspect.isclass(found) and typing.get_origin(found) is dict:
            found = typing.get_args(found)[1]
        elif not inspect.isclass(found):
            kinds = _kinds(found)
            kind = content[part].get("kind") if isinstance(content[part], dict) else None
            found = kinds.get(kind, next(iter(kinds.values())))
        model = found
    return list(model.model_fields)


def _kinds(union):
    """Members of a union by the value of their key `kind`."""
    return {typing.get_args(member.model_fields["kind"].annotation)[0]: member for member in typing.get_args(union)}
