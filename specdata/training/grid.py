"""The grid of a sweep: which settings are run, and what is published about them."""

from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from specdata.errors import SpecdataError, one_line
from specdata.files import find_recipe

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")]
Settings = dict[str, int | float | str | bool]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Choice(_Part):
    """By which rows the checkpoint of a run is chosen."""

    split: Literal["validation"] = "validation"
    rows: int = Field(200, ge=1)


class Published(_Part):
    """Scores of the same runs by others: `mae`, and whatever else they print."""

    source: str
    model: str
    values: dict[Name, dict[str, float]]


class Grid(_Part):
    """Settings of `trl sft` for every run, and those of each; the latter win."""

    base: Settings = {}
    runs: dict[Name, Settings] = Field(min_length=1)
    ablations: dict[str, list[Name]] = {}
    choose: Choice | None = None
    published: Published | None = None

    @model_validator(mode="after")
    def _names_are_runs(self):
        named = [name for names in self.ablations.values() for name in names]
        named += list(self.published.values) if self.published else []
        if missing := [name for name in named if name not in self.runs]:
            raise ValueError(f"{missing[0]}: is no run; there are {', '.join(self.runs)}")
        return self

    def settings(self, run):
        """All settings of a run."""
        return self.base | self.runs[run]


def load_grid(path):
    """Read a grid; SpecdataError in one sentence if something is wrong with it."""
    path = find_recipe(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Grid.model_validate(content)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SpecdataError(f"{path}: cannot be read as YAML ({one_line(error)})") from None
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(str(part) for part in problem["loc"])
        allowed = ", ".join(Grid.model_fields)
        raise SpecdataError(f"{path}: {key or 'it'}: {problem['msg']}; the keys of a grid are {allowed}") from None
