import pytest
import torch
from torch import nn

from polyscene.config import Group, Optimiser
from polyscene.training import optim


def network() -> nn.Module:
    return nn.ModuleDict(
        {"encoder": nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), "heads": nn.ModuleList([nn.Linear(4, 2)])}
    )


def owner(model: nn.Module, groups: list[dict], name: str) -> dict:
    parameter = model.get_parameter(name)
    return next(group for group in groups if any(each is parameter for each in group["params"]))


def test_patterns_set_rate_and_decay_and_vectors_do_not_decay() -> None:
    model = network()
    settings = Optimiser(weight_decay=0.1, groups=(Group(pattern="^encoder", lr_scale=0.2, weight_decay=0.5),))
    groups = optim.groups(dict(model.named_parameters()), settings)
    found = {name: owner(model, groups, name) for name, _ in model.named_parameters()}
    assert (found["encoder.0.weight"]["lr_scale"], found["encoder.0.weight"]["weight_decay"]) == (0.2, 0.5)
    assert (found["encoder.1.weight"]["lr_scale"], found["encoder.1.weight"]["weight_decay"]) == (0.2, 0.0)
    assert (found["heads.0.weight"]["lr_scale"], found["heads.0.weight"]["weight_decay"]) == (1.0, 0.1)
    assert (found["heads.0.bias"]["lr_scale"], found["heads.0.bias"]["weight_decay"]) == (1.0, 0.0)
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))


def test_the_first_pattern_that_matches_counts() -> None:
    model = network()
    settings = Optimiser(groups=(Group(pattern="0.weight", lr_scale=3.0), Group(pattern="encoder", lr_scale=2.0)))
    groups = optim.groups(dict(model.named_parameters()), settings)
    assert owner(model, groups, "encoder.0.weight")["lr_scale"] == 3.0
    assert owner(model, groups, "encoder.0.bias")["lr_scale"] == 2.0


def test_a_rate_of_zero_freezes() -> None:
    model = network()
    settings = Optimiser(groups=(Group(pattern="^encoder.0", lr_scale=0.0), Group(pattern="^encoder", lr_scale=0.5)))
    named = dict(model.named_parameters())
    optim.freeze(named, settings)
    assert [name for name, parameter in named.items() if not parameter.requires_grad] == [
        "encoder.0.weight",
        "encoder.0.bias",
    ]
    assert {group["lr_scale"] for group in optim.groups(named, settings)} == {0.5, 1.0}


def test_frozen_parameters_are_left_out() -> None:
    model = network()
    model["encoder"].requires_grad_(False)
    groups = optim.groups(dict(model.named_parameters()), Optimiser())
    assert sum(len(group["params"]) for group in groups) == 2


def test_patterns_that_match_nothing_are_all_named_with_near_names() -> None:
    settings = Optimiser(groups=(Group(pattern="^encodr"), Group(pattern="haeds")))
    with pytest.raises(ValueError, match=r"(?s)\^encodr.*encoder.*haeds.*heads"):
        optim.groups(dict(network().named_parameters()), settings)


@pytest.mark.parametrize(
    ("name", "kind"), [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)]
)
def test_each_optimiser_follows_the_rate(name: str, kind: type) -> None:
    settings = Optimiser(name=name, lr=0.1, groups=(Group(pattern="encoder", lr_scale=0.5),))
    optimiser = optim.build(dict(network().named_parameters()), settings)
    optim.set_rate(optimiser, 0.01)
    assert isinstance(optimiser, kind)
    assert {group["lr"] for group in optimiser.param_groups} == {0.01, 0.005}
