from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from polyscene import document
from polyscene.config import names, source, words
from polyscene.config.problems import ConfigError, Place, Problem
from polyscene.config.schema import Config

VARIABLE = re.compile(r"\$\{(?P<name>\w+)(:-(?P<default>[^}]*))?\}")


def load(
    path: Path | str,
    overrides: Sequence[str] = (),
    trains: bool = False,
    whole: Callable[[dict[str, Any]], dict[str, Any]] = dict,
) -> Config:
    """The configuration in a YAML file, with ``--section.key value`` overrides. One that ``trains`` needs a task and a
    source to train on. A run without a ``name`` is called after the file.

    ``${NAME}`` and ``${NAME:-default}`` in texts read the environment. Data that the file names (paths of data sets,
    pre-trained weights) are relative to the file; what is typed or comes from the environment, and runs (``out``,
    ``training.init``), are relative to the working directory. ``whole`` makes the configuration of what the file says,
    where that is a short form. Raises ``ConfigError`` naming everything that is wrong; imports no torch.
    """
    path = Path(path)
    try:
        text = source.read(path.read_text())
    except OSError as error:
        raise ConfigError([Problem((), f"cannot be read: {error.strerror}")], str(path)) from None
    except (UnicodeDecodeError, document.BadText) as error:
        raise ConfigError([Problem((), f"is not YAML: {' '.join(str(error).split())}")], str(path)) from None
    text.data = whole(text.data)
    source.override(text, overrides)
    problems = list(text.problems)
    data = _expand(text.data, (), path.parent, text, problems)
    data.setdefault("name", path.stem)
    problems += names.examine(data)
    if trains:
        problems += names.wanting(data)
    try:
        config = Config.model_validate(data)
    except ValidationError as error:
        problems += words.of(error, data)
    if problems:
        raise ConfigError(problems, str(path), text.lines, text.overridden)
    return config


def dump(config: Config) -> str:
    """YAML that ``load`` reads back as the same configuration."""
    return yaml.safe_dump(_plain(config), sort_keys=False, allow_unicode=True, width=110)


def _plain(value: Any) -> Any:
    from polyscene.config.schema import Part, Strict

    if isinstance(value, Part):
        return _plain(value.written())
    if isinstance(value, Strict):
        return {name: _plain(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _expand(value: Any, place: Place, folder: Path, text: source.Text, problems: list[Problem]) -> Any:
    """A copy with environment variables put in and paths of data made absolute."""
    if isinstance(value, dict):
        return {key: _expand(item, (*place, key), folder, text, problems) for key, item in value.items()}
    if isinstance(value, list):
        return [_expand(item, (*place, index), folder, text, problems) for index, item in enumerate(value)]
    if not isinstance(value, str):
        return value
    base = Path() if place in text.overridden else folder
    is_path = names.is_path(place, value, text.data)

    def variable(match: re.Match[str]) -> str:
        found = os.environ.get(match["name"], match["default"])
        if found is None:
            problems.append(Problem(place, f"the environment variable {match['name']} is not set", value))
            return match[0]
        relative = is_path and match["name"] in os.environ and "://" not in found
        return str(Path(found).absolute()) if relative else found

    written = VARIABLE.sub(variable, value)
    if not is_path or "://" in written:  # an address elsewhere
        return written
    return str(Path(os.path.abspath(base / Path(written).expanduser())))
