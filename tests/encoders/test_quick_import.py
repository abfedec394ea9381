"""A network is built and used without torch's compiler being imported, which is there for whoever wants it."""

import subprocess
import sys

SCRIPT = """
import sys
import torch, polyscene
model = polyscene.create_model(["depth"], encoder="tf_efficientnet_lite0").eval()
model.infer(torch.rand(1, 1, 3, 64, 64))
assert "torchvision" in sys.modules and "timm" in sys.modules
assert "torch._dynamo" not in sys.modules, "slow to import"
weight = model.encoder.state_dict()
assert any(tensor.std() > 0 for name, tensor in weight.items() if name.endswith("weight"))
compiled = torch.compile(torch.nn.Linear(3, 3), backend="eager")
assert compiled(torch.rand(2, 3)).shape == (2, 3)
import torch._dynamo, torch._dynamo.utils, timm.layers
assert torch._dynamo.__file__ and torch._dynamo.utils.__file__
from timm.models.naflexvit import NaFlexRopeIterator
import torchvision
assert torchvision.ops.roi_align(torch.rand(1, 3, 8, 8), torch.tensor([[0, 0, 0, 5.0, 5.0]]), 2).shape == (1, 3, 2, 2)
from polyscene.encoders import _timm
assert _timm._disable(lambda number: number + 1)(1) == 2 and _timm._disable(recursive=False)(max)(1, 2) == 2
assert _timm._is_compile_supported("cpu") in (True, False)
"""


def test_the_compiler_is_not_imported_until_it_is_wanted() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
