import torch
from torch import nn

from polyscene.training.ema import Ema


def test_the_average_follows_the_formula() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    ema = Ema(model, decay=0.2)
    expected = model[0].weight.detach().clone()
    for update in range(5):
        with torch.no_grad():
            model[0].weight.add_(1.0)
            model[1].running_mean.add_(1.0)
            model[1].num_batches_tracked.add_(1)
        ema.update(model)
        decay = min(0.2, (1 + update) / (10 + update))
        expected = decay * expected + (1 - decay) * model[0].weight.detach()
    torch.testing.assert_close(ema.model[0].weight.detach(), expected)
    assert 0 < ema.model[1].running_mean[0] < model[1].running_mean[0]
    assert ema.model[1].num_batches_tracked == 5


def test_the_average_is_neither_trained_nor_the_same_tensors() -> None:
    model = nn.Linear(2, 2)
    ema = Ema(model, decay=0.9)
    assert not any(parameter.requires_grad for parameter in ema.model.parameters())
    assert ema.model.weight.data_ptr() != model.weight.data_ptr()
