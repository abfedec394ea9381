import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
import yaml

from polyscene import config, parts
from polyscene.data import DATASETS, LABELS
from polyscene.tasks.sets import SETS

GOOD = """
tasks: rooms
data:
  size: [96, 128]
  train:
    rooms: {dataset: {name: rooms, scenes: 4}, batch: 2}
model:
  decoder: {name: multi_head, channels: 32}
training: {steps: 10}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "run.yaml"
    path.write_text(text)
    return path


def refused(folder: Path, text: str, *overrides: str) -> str:
    with pytest.raises(config.ConfigError) as caught:
        config.load(write(folder, text), overrides)
    return str(caught.value)


def test_a_good_file_is_read_and_written_back_the_same(tmp_path: Path) -> None:
    read = config.load(write(tmp_path, GOOD))
    assert read.model.decoder == config.Part(name="multi_head", options={"channels": 32})
    assert config.load(write(tmp_path, config.dump(read))) == read


def test_everything_wrong_is_told_at_once_with_place_line_and_nearest_name(tmp_path: Path) -> None:
    text = """tasks: [semseg, dept]
data:
  size: [96, -4]
  train:
    rooms: {dataset: {name: rooms, scenes: many, qualty: fast}, bach: 2}
  workers: 1
  workers: 2
model:
  decoder: {name: multi_hed}
  neck: cross_viw
training:
  ema: 1.5
  optimiser: {lrr: 0.1, name: adamm}
weights: {semsg: 2}
"""
    told = refused(tmp_path, text, "--devise", "cpu")
    for line, words in {
        "run.yaml:1: tasks.1 = 'dept'": "did you mean 'depth'?",
        "run.yaml:3: data.size.1 = -4": "greater than 0",
        "run.yaml:5: data.train.rooms.dataset.scenes = 'many'": "integer",
        "run.yaml:5: data.train.rooms.dataset.qualty = 'fast'": "did you mean 'quality'?",
        "run.yaml:5: data.train.rooms.bach = 2": "did you mean 'batch'?",
        "run.yaml:7: data.workers": "given twice, in lines 6 and 7",
        "run.yaml:9: model.decoder.name = 'multi_hed'": "did you mean 'multi_head'?",
        "run.yaml:10: model.neck = 'cross_viw'": "neck",
        "run.yaml:12: training.ema = 1.5": "less than 1",
        "run.yaml:13: training.optimiser.lrr = 0.1": "did you mean 'lr'?",
        "run.yaml:13: training.optimiser.name = 'adamm'": "'adamw'",
        "run.yaml:14: weights.semsg": "did you mean 'semseg'?",
        "command line: devise": "did you mean 'device'?",
    }.items():
        found = [row for row in told.splitlines() if line in row]
        assert found and words in found[0], f"{line}: {words}\n{told}"
    assert told.startswith("13 problems")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tasks: rooms", "no training source"),
        ("[1, 2", "is not YAML"),
        ("- 1", "should hold"),
    ],
)
def test_files_of_the_wrong_kind(tmp_path: Path, text: str, words: str) -> None:
    assert words in refused(tmp_path, text)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(config.ConfigError, match=r"nowhere\.yaml.*No such file"):
        config.load(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--model.decoder.fuse", "cat"], "should be 'fpn' or 'concat'"),
        (["--model.decoder.chanels", "9"], "did you mean 'channels'?"),
        (["--model.decoder", "3"], "a part is written as its name"),
        (["--tasks", "room"], "did you mean 'rooms'?"),
        (["--tasks", "[{type: Dept}]"], "did you mean 'Depth'?"),
        (["--tasks", "[{type: Depth, encoding: logg}]"], "tasks.0.encoding = 'logg'"),
        (["--tasks", "[depth, depth]"], "given twice"),
        (["--data.train.rooms.tasks", "[normal]"], "did you mean 'normals'?"),
        (["--data.train.rooms.dataset.name", "room"], "did you mean 'rooms'?"),
        (["--training.minutes", "3"], "give one of steps, epochs and minutes"),
        (["--training.optimiser.groups", "[{pattern: '('}]"], "no regular expression"),
        (["--data.augment.zoom", "2", "1"], "exceeds"),
        (["--data.augment", "invptt"], "should be 'polyscene', 'invpt'"),
        (
            ["--data.augment", "{name: mtan, zoom: [1, 2], mirror: false}"],
            "zoom, mirror: a setting of the recipe polyscene",
        ),
        (["--out", "${POLYSCENE_NOT_SET}/x"], "POLYSCENE_NOT_SET is not set"),
        (["stray"], "belongs to no option"),
        (["--training.steps.more", "3"], "leads nowhere"),
    ],
)
def test_mistakes_on_the_command_line(tmp_path: Path, flags: list[str], words: str) -> None:
    assert words in refused(tmp_path, GOOD, *flags)


def test_overrides_take_the_place_of_what_the_file_says(tmp_path: Path) -> None:
    flags = "--data.size 64 96 --model.decoder.channels=48 --steps 7 --training.optimiser.lr 1e-4".split()
    read = config.load(write(tmp_path, GOOD), [*flags, "--data.augment.mirror", "false", "--training.freeze_norm"])
    assert read.data.size == (64, 96) and read.model.decoder.options == {"channels": 48}
    assert read.training.steps == 7 and read.training.optimiser.lr == 1e-4
    assert not read.data.augment.mirror and read.training.freeze_norm


def test_a_recipe_is_named_alone_or_in_a_mapping(tmp_path: Path) -> None:
    for written in ("invpt", "{name: invpt}"):
        read = config.load(write(tmp_path, GOOD), ["--data.augment", written])
        assert read.data.augment == config.Data(augment="invpt").augment
        assert config.Config.model_validate(yaml.safe_load(config.dump(read))) == read


def test_an_option_of_a_part_that_the_file_leaves_to_its_default(tmp_path: Path) -> None:
    read = config.load(write(tmp_path, GOOD.replace("decoder:", "neck: null  #")), ["--model.decoder.channels", "96"])
    assert read.model.decoder == config.Part(name="multi_head", options={"channels": 96})


def test_data_is_relative_to_the_file_and_what_is_typed_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "polyscene.yaml").write_text('name: mine\nimages: "rgb/{id}.jpg"\ntasks: {depth: {path: "d/{id}.png"}}\n')
    text = "tasks: [depth]\nout: runs/x\ndata: {train: {a: {dataset: {name: folder, path: '${PLACE:-data}'}}}}\n"
    other = tmp_path / "elsewhere"
    other.mkdir()
    monkeypatch.chdir(other)
    read = config.load(write(tmp_path, text))
    assert read.data.train["a"].dataset.options["path"] == str(data) and read.out == Path("runs/x")
    typed = config.load(write(tmp_path, text), ["--data.train.a.dataset.path", "../data"])
    assert typed.data.train["a"].dataset.options["path"] == str(data)
    monkeypatch.setenv("PLACE", "../data")
    assert config.load(write(tmp_path, text)).data.train["a"].dataset.options["path"] == str(data)
    assert "'normals'" in refused(tmp_path, text, "--tasks", "[normals]")
    assert "nothing: no such" in refused(tmp_path, text, "--data.train.a.dataset.path", "../nothing")


def test_no_torch_is_imported_by_reading_and_refusing(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    code = f"""
import sys
from polyscene import config
config.load({str(path)!r})
try:
    config.load({str(path)!r}, ["--model.decoder.fuse", "cat", "--tasks", "[dept]"])
except config.ConfigError as error:
    print(len(error.problems), "torch" in sys.modules, "timm" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "False", "False"]


def test_labels_known_without_torch_are_those_of_the_data_sets() -> None:
    assert set(LABELS) <= set(DATASETS)
    assert {name: tuple(task.name for task in SETS[name]) for name in LABELS} == dict(LABELS)


def test_simple_types_are_read_from_the_source() -> None:
    known = parts.keywords("polyscene.tasks.depth:Depth") or {}
    assert get_args(parts.simple_type(known["near"]))[0] is float
    assert "log_bins" in parts.simple_type(known["encoding"]).__args__
    assert parts.simple_type(parts.Keyword("a", "Tensor", False, "polyscene.tasks.depth")) is None


def test_what_only_torch_can_judge_is_told_together(tmp_path: Path) -> None:
    read = config.load(
        write(tmp_path, GOOD),
        ["--model.encoder", "resnet18x", "--model.pretrained", "package", "--device", "foo", "--init", "nowhere"],
    )
    with pytest.raises(config.ConfigError) as caught:
        config.check(read, {task.name: task for task in SETS["rooms"]})
    assert "did you mean 'resnet18'?" in str(caught.value)
    told = {".".join(map(str, problem.place)) for problem in caught.value.problems}
    assert told == {"model", "model.pretrained", "training.device", "training.init"}


def test_an_option_without_its_section_names_the_whole(tmp_path: Path) -> None:
    assert "lr: unknown key; did you mean --training.optimiser.lr?" in refused(tmp_path, GOOD, "--lr", "1e-4")
    assert "size: unknown key; did you mean --data.size?" in refused(tmp_path, GOOD, "--size", "[64, 96]")


def test_training_needs_a_task_and_a_source(tmp_path: Path) -> None:
    path = write(tmp_path, "tasks: []\ndata: {evaluate: {}}\n")
    assert config.load(path).tasks == () and config.load(path).name == path.stem
    with pytest.raises(config.ConfigError) as caught:
        config.load(path, trains=True)
    assert {problem.place for problem in caught.value.problems} == {("tasks",), ("data", "train")}


def test_bounds_of_parts_and_tasks_are_told_together_without_building_them(tmp_path: Path) -> None:
    told = refused(
        tmp_path,
        GOOD,
        *("--tasks", "[{type: Depth, near: -1, bins: 1, variance_focus: 2, weight: -3}]"),
        *("--model.decoder.channels", "0", "--model.decoder.depth", "-1"),
        *("--seed", "-1", "--training.optimiser.betas", "[0.9, 1.0]"),
        *("--training.optimiser.lr", ".inf"),
    )
    for place in ("near", "bins", "variance_focus", "weight", "channels", "decoder.depth", "seed", "betas.1"):
        assert re.search(rf"{place} = \S+: should be (greater|less) than", told), place
    assert "training.optimiser.lr = inf: should be a finite number" in told


def test_patterns_must_match_a_parameter(tmp_path: Path) -> None:
    tasks = {task.name: task for task in SETS["rooms"]}
    flags = ["--model.encoder", "resnet18", "--training.optimiser.groups"]
    config.check(config.load(write(tmp_path, GOOD), [*flags, "[{pattern: ^encoder}]"]), tasks)
    with pytest.raises(config.ConfigError, match=r"groups\.0\.pattern = 'backbone': matches no parameter"):
        config.check(config.load(write(tmp_path, GOOD), [*flags, "[{pattern: backbone}]"]), tasks)
