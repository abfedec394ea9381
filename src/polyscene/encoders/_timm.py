"""timm without torch's compiler, whose import takes two of the seven seconds in which a photograph is seen from a cold
start: timm and torchvision want two functions of it while they are imported, which they get when they call."""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Callable
from typing import Any

from torch.overrides import TorchFunctionMode

COMPILER, UTILITIES = "torch._dynamo", "torch._dynamo.utils"
DRAWS = {"normal_", "uniform_"}


def _disable(function: Callable[..., Any] | None = None, *settings: Any, **named: Any) -> Callable[..., Any]:
    if function is None:
        return functools.partial(_disable, **named)
    made: list[Callable[..., Any]] = []

    @functools.wraps(function)
    def disabled(*arguments: Any, **keywords: Any) -> Any:
        if not made:
            import torch._dynamo

            made.append(torch._dynamo.disable(function, *settings, **named))
        return made[0](*arguments, **keywords)

    return disabled


def _is_compile_supported(device: str) -> bool:
    import torch._dynamo.utils

    return bool(torch._dynamo.utils.is_compile_supported(device))


class Bare(TorchFunctionMode):
    """Tensors are not initialised: those without memory need it not, and drawing for them imports the compiler."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(function, "__module__", "") == "torch.nn.init" or getattr(function, "__name__", "") in DRAWS:
            return args[0] if args else kwargs["tensor"]
        return function(*args, **(kwargs or {}))


def _import() -> None:
    if COMPILER in sys.modules:
        return
    compiler, utilities = types.ModuleType(COMPILER), types.ModuleType(UTILITIES)
    vars(compiler).update(__path__=[], utils=utilities, disable=_disable)
    vars(utilities).update(is_compile_supported=_is_compile_supported)
    sys.modules.update({COMPILER: compiler, UTILITIES: utilities})
    try:
        import timm  # noqa: F401
    except (ImportError, AttributeError):  # a version that wants more of it
        for name in [name for name in sys.modules if name.partition(".")[0] in ("timm", "torchvision")]:
            del sys.modules[name]
    finally:
        for name, stand_in in ((COMPILER, compiler), (UTILITIES, utilities)):
            if sys.modules.get(name) is stand_in:
                del sys.modules[name]


_import()
import timm as timm  # noqa: E402
