"""Several processes (ranks) that train one network: the only place that knows of them. In a single process nothing here
does anything.

Gradients are averaged after backward, in one buffer a type, by ourselves: DistributedDataParallel hooks one backward of
one forward, past which steps of several forwards and methods that differentiate task by task go. Weights that are
sharded (``shard``) are torch's FSDP2's; everything else sees of them what a rank ``owns``, plain tensors.
"""

from __future__ import annotations

import json
import os
import time
import uuid
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.elastic.multiprocessing.errors import get_error_handler

from polyscene import devices

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

Answer = TypeVar("Answer")
TIMEOUT = 1800  # seconds that ranks wait for each other; the variable POLYSCENE_RANK_TIMEOUT says otherwise
LARGE = 500_000  # weights of a block that is worth a message of its own
_alone = False  # inside what one rank does for all


class RankFailed(ConnectionError):
    """Another process of the run has stopped, or no longer answers."""


@contextmanager
def joined(device: str) -> Iterator[None]:
    """Inside, this process is one of those that ``torchrun`` has started: gloo between CPUs, nccl between GPUs, of
    which each rank takes that of its local number. Nothing where it was started alone."""
    if not _launched() or dist.is_initialized():
        yield
        return
    if device in ("auto", "cuda"):
        _take_gpu()
    on_gpu = devices.pick(device).type == "cuda"
    _collect(_meet, "cpu:gloo,cuda:nccl" if on_gpu else "gloo", _patience())
    try:
        yield
    except RankFailed:
        raise  # what the other has to say is the cause
    except Exception as error:
        get_error_handler().record_exception(error)  # torchrun's last words tell it, with its traceback
        raise
    finally:
        dist.destroy_process_group()


def _launched() -> bool:
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ


def _patience() -> timedelta:
    told = os.environ.get("POLYSCENE_RANK_TIMEOUT", str(TIMEOUT))
    try:
        seconds = timedelta(seconds=float(told))
    except (ValueError, OverflowError):
        seconds = timedelta()
    if seconds <= timedelta():
        raise ValueError(f"POLYSCENE_RANK_TIMEOUT={told}: give seconds, such as {TIMEOUT}")
    return seconds


def _meet(backend: str, wait: timedelta) -> None:
    store, place, ranks = next(dist.rendezvous("env://", timeout=wait))
    store = dist.PrefixStore(f"polyscene/{os.environ.get('TORCHELASTIC_RUN_ID', '')}", store)
    store = dist.PrefixStore(_room(store, place, ranks, wait), store)
    dist.init_process_group(backend, store=store, rank=place, world_size=ranks, timeout=wait)


def _room(store: dist.Store, place: int, ranks: int, wait: timedelta) -> str:
    """A name that these processes alone have agreed on. torchrun keeps its store when it starts ranks again, with the
    addresses of those that died, and nothing that it tells them differs after a change of members. So the first rank
    makes a name up and confirms who has answered to it; the others answer to whatever name is there until they are
    confirmed."""
    if place == 0:
        name = uuid.uuid4().hex
        store.set("room", name)
        answered = [store.get(f"{name}/{other}").decode() for other in range(1, ranks)]
        store.set(f"{name}/all", " ".join(answered))
        return name
    mine, until = uuid.uuid4().hex, time.monotonic() + wait.total_seconds()
    while time.monotonic() < until:
        name = store.get("room").decode()
        store.set(f"{name}/{place}", mine)
        if store.check([f"{name}/all"]) and mine in store.get(f"{name}/all").decode().split():
            return name
        time.sleep(0.05)
    raise RuntimeError(f"rank {place} was not confirmed by rank 0 within {wait.total_seconds():g} s")


def _take_gpu() -> None:
    place, there = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if there:
        if place >= there:
            raise ValueError(f"this machine has {there} GPUs, rank {place} of it finds none: --nproc-per-node {there}")
        torch.cuda.set_device(place)


def count() -> int:
    """How many ranks there are."""
    return dist.get_world_size() if dist.is_initialized() and not _alone else 1


def rank() -> int:
    """Which of them this is, also before and after they are joined."""
    if dist.is_initialized():
        return dist.get_rank()
    return int(os.environ["RANK"]) if _launched() else 0


def first() -> bool:
    """Whether this is the rank that writes and speaks."""
    return rank() == 0


# -- tensors -----------------------------------------------------------------------------------------------------------
def mean(tensor: Tensor) -> Tensor:
    """Averaged over ranks; no gradient flows through it."""
    if count() == 1:
        return tensor
    shared = tensor.detach().clone().to(torch.promote_types(tensor.dtype, torch.float32))
    _collect(dist.all_reduce, shared)
    return shared / count()


def total(tensor: Tensor) -> Tensor:
    """Summed over ranks; no gradient flows through it."""
    return tensor if count() == 1 else mean(tensor) * count()


def share(number: Tensor) -> Tensor:
    """By how much a rank divides its sum of losses so that the ranks' mean is the mean over all ``number`` things that
    they count: the count of all, at least one, over the number of ranks."""
    return number.clamp_min(1) if count() == 1 else mean(number).clamp_min(1 / count())


def greatest(tensor: Tensor) -> Tensor:
    """The greatest of all ranks, element by element; no gradient flows through it."""
    if count() == 1:
        return tensor
    shared = tensor.detach().clone()
    _collect(dist.all_reduce, shared, dist.ReduceOp.MAX)
    return shared


def add_up(tensors: Sequence[Tensor]) -> None:
    """Each becomes its sum over ranks. One message a type and device."""
    if count() > 1:
        for flat, group in _flat(tensors):
            _collect(dist.all_reduce, flat)
            _spread(flat, group)


def average(tensors: Sequence[Tensor]) -> None:
    """Each becomes its mean over ranks. One message a type and device."""
    if count() > 1:
        for flat, group in _flat(tensors):
            _collect(dist.all_reduce, flat)
            _spread(flat.div_(count()), group)


def averaged(tensors: Sequence[Tensor | None]) -> tuple[Tensor | None, ...]:
    """Their means over ranks."""
    if count() == 1:
        return tuple(tensors)
    copies = tuple(None if tensor is None else tensor.detach().clone() for tensor in tensors)
    average([copy for copy in copies if copy is not None])
    return copies


def _flat(tensors: Sequence[Tensor]) -> Iterator[tuple[Tensor, list[Tensor]]]:
    groups: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for tensor in tensors:
        groups.setdefault((tensor.dtype, tensor.device), []).append(tensor.detach())
    for group in groups.values():
        yield torch.cat([tensor.reshape(-1) for tensor in group]), group


def _spread(flat: Tensor, group: list[Tensor]) -> None:
    parts = flat.split([tensor.numel() for tensor in group])
    torch._foreach_copy_(group, [part.view(tensor.shape) for part, tensor in zip(parts, group, strict=True)])


def average_gradients(parameters: Iterable[nn.Parameter], beside: Sequence[Tensor] = ()) -> None:
    """Of what has a gradient on some rank; it is zero on the others. Those of sharded ones are averaged already. What
    is ``beside`` becomes its mean in the same message."""
    if count() == 1:
        return
    parameters = [parameter for parameter in parameters if not is_shard(parameter)]
    reached = greatest(torch.tensor([parameter.grad is not None for parameter in parameters], dtype=torch.uint8))
    gradients = [*beside]
    for parameter, any_has in zip(parameters, reached.tolist(), strict=True):
        if any_has:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
    average(gradients)


def statistics(model: nn.Module) -> list[Tensor]:
    """What batch norms remember; averaged, so that ranks stay alike."""
    norms = [part for part in model.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    return [each for norm in norms for each in (norm.running_mean, norm.running_var) if each is not None]


def join_norms(model: nn.Module) -> None:
    """Batch norms normalise by what all ranks see. ``ValueError`` on a CPU."""
    if next(model.parameters()).device.type != "cuda":
        raise ValueError("training.sync_norm: needs GPUs, this run is on a CPU; leave it out, or take freeze_norm")
    if count() > 1:
        from timm.layers import convert_sync_batchnorm

        convert_sync_batchnorm(model)


def as_first(tensors: Iterable[Tensor]) -> None:
    """Each becomes what the first rank has."""
    if count() > 1:
        for tensor in tensors:
            _collect(dist.broadcast, tensor.detach(), 0)


# -- shards ------------------------------------------------------------------------------------------------------------
def shard(model: nn.Module, blocks: Iterable[nn.Module], whole: Iterable[nn.Parameter] = ()) -> None:
    """From now on a rank keeps of each weight one part of as many as there are ranks, by rows. A large one of the
    ``blocks`` is gathered while it works, all others for the whole of a step. Those of ``whole`` are left as they are;
    nothing may copy the model any more."""
    if not dist.is_initialized():
        return
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    for parameter in model.parameters():
        parameter.data = parameter.data.contiguous()  # it takes no others
    warnings.filterwarnings("ignore", "FSDP2-wrapped module")  # of views that are changed in place: no block's is
    mesh = init_device_mesh(next(model.parameters()).device.type, (count(),))
    left = set(whole)
    for block in blocks:
        if sum(parameter.numel() for parameter in block.parameters()) >= LARGE:
            fully_shard(block, mesh=mesh, ignored_params=left)
    fully_shard(model, mesh=mesh, ignored_params=left).set_reduce_scatter_unused_params(True)


def is_shard(tensor: Tensor) -> TypeGuard[DTensor]:
    return hasattr(tensor, "full_tensor")


def owned(tensor: Tensor) -> Tensor:
    """What of it is on this rank, in the same memory."""
    return tensor.to_local().detach() if is_shard(tensor) else tensor


def own(parameter: nn.Parameter) -> nn.Parameter:
    """What an optimiser is to change: itself, or of a sharded one what of it is ``owned``."""
    return nn.Parameter(owned(parameter), parameter.requires_grad) if is_shard(parameter) else parameter


def hand_over(parameters: Mapping[nn.Parameter, nn.Parameter]) -> None:
    """The gradients of sharded parameters, to what is their ``own`` (the keys)."""
    for mine, parameter in parameters.items():
        if mine is not parameter:
            mine.grad = None if parameter.grad is None else owned(parameter.grad)
            parameter.grad = None


def norm(whole: Sequence[Tensor], parts: Sequence[Tensor]) -> Tensor:
    """The length of all together; of ``parts`` every rank has its own."""
    length = nn.utils.get_total_norm(whole, foreach=True)
    if not parts:
        return length
    return (length.square() + total(nn.utils.get_total_norm(parts, foreach=True).square())).sqrt()


def as_shard(tensor: Tensor, like: Tensor) -> Tensor:
    """Of ``like``'s shape or that of what of it is ``owned``: sharded as it. Anything else stays as it is."""
    if not is_shard(like) or is_shard(tensor) or tensor.ndim == 0:
        return tensor
    from torch.distributed.tensor import DTensor

    mine = owned(like).shape
    if tensor.shape != mine and tensor.shape == like.shape:
        tensor = tensor[slice(*rows(len(tensor)))]
    if tensor.shape != mine:
        return tensor
    tensor = tensor.to(like.device).contiguous()
    return DTensor.from_local(
        tensor, like.device_mesh, like.placements, run_check=False, shape=like.shape, stride=like.stride()
    )


def rows(number: int) -> tuple[int, int]:
    """Those of so many that this rank owns: from, to."""
    each = -(-number // count())
    return min(each * rank(), number), min(each * (rank() + 1), number)


def as_shards(tensors: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: as_shard(tensor, like[name]) if name in like else tensor for name, tensor in tensors.items()}


def whole(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All ranks call this at once, the first one gets them; what is sharded comes to its CPU, one after the other."""
    found = {}
    for name, tensor in tensors.items():
        each = tensor.full_tensor() if is_shard(tensor) else tensor
        if first():
            found[name] = each.cpu() if is_shard(tensor) else each
    return found


def as_kept(tensor: Tensor, like: Tensor) -> Tensor:
    """What a rank keeps of it if it keeps it as ``like``."""
    return tensor.full_tensor() if is_shard(tensor) and not is_shard(like) else owned(tensor)


@contextmanager
def gathered(model: nn.Module) -> Iterator[None]:
    """Inside, each rank has the whole network and may go forward by itself; nothing may be trained or stored."""
    shards: list[Any] = [part for part in model.modules() if hasattr(part, "unshard")]
    for part in shards:
        part.set_reshard_after_forward(False, recurse=False)
        part.unshard()
    try:
        yield
    finally:
        for part in shards:
            part.reshard()
            part.set_reshard_after_forward(part is not model, recurse=False)


# -- words -------------------------------------------------------------------------------------------------------------
def gather(value: Any) -> list[Any]:
    """What every rank says, in their order: what JSON can hold."""
    if count() == 1:
        return [value]
    written = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
    length = torch.tensor([len(written)])
    lengths = [torch.zeros_like(length) for _ in range(count())]
    _collect(dist.all_gather, lengths, length)
    longest = max(int(each) for each in lengths)
    padded = torch.zeros(longest, dtype=torch.uint8)
    padded[: len(written)] = written
    pages = [torch.zeros_like(padded) for _ in range(count())]
    _collect(dist.all_gather, pages, padded)
    return [json.loads(bytes(page[: int(each)].tolist())) for page, each in zip(pages, lengths, strict=True)]


def of_first(function: Callable[[], Answer]) -> Answer:
    """What ``function`` says (JSON) on the first rank, which alone calls it; the others wait. ``RankFailed`` on these
    where it raises."""
    return of_each(lambda: function() if first() else None)[0]


def of_each(function: Callable[[], Any]) -> list[Any]:
    """What ``function`` says (JSON) on every rank; each calls it as if it were the only one. Where it raises on some,
    ``RankFailed`` on the others."""
    if count() == 1:
        return [function()]
    answer, failure = None, None
    try:
        with alone():
            answer = function()
    except Exception as error:
        failure = error
    told = gather([answer, failure and f"{type(failure).__name__}: {failure}"])
    if failure is not None:
        raise failure
    for place, (_, said) in enumerate(told):
        if said is not None:
            raise RankFailed(f"process {place} has stopped: {said}")
    return [answer for answer, _ in told]


@contextmanager
def alone() -> Iterator[None]:
    """Inside, this rank works as if it were the only one."""
    global _alone
    before, _alone = _alone, True
    try:
        yield
    finally:
        _alone = before


@contextmanager
def in_turns() -> Iterator[None]:
    """The first rank of every machine goes first, the others after it: what it has fetched or rendered is there."""
    if count() == 1:
        yield
        return
    leads = int(os.environ.get("LOCAL_RANK", "0")) == 0
    if not leads:
        _collect(dist.barrier)
    with alone():
        yield
    if leads:
        _collect(dist.barrier)


def in_rounds(items: Iterable[Answer], ask: Callable[[bool], bool]) -> Iterator[Answer]:
    """Before each of them ``ask(True)``, then ``ask(False)`` until it says that no rank goes on: all ranks ask equally
    often, however many items each has."""
    for item in items:
        ask(True)
        yield item
    while ask(False):
        pass


def agree(stopped: int | None, likeness: Any = None) -> int | None:
    """A signal that some rank was sent, told to all. ``RankFailed`` where their ``likeness`` differs: they would go on
    to wait for each other in vain."""
    if count() == 1:
        return stopped
    mark = zlib.crc32(repr(likeness).encode())
    signal, most, least = greatest(torch.tensor([stopped or 0, mark, -mark])).tolist()
    if most != -least:
        told = "; ".join(f"rank {place}: {each}" for place, each in enumerate(gather(repr(likeness))))
        raise RankFailed(f"the ranks do not agree ({told})")
    return signal or None


def _collect(function: Callable[..., Any], *arguments: Any) -> None:
    try:
        function(*arguments)
    except RuntimeError as error:
        said = str(error).splitlines()[0]
        raise RankFailed(f"another process of this run has stopped or hangs; its own words say why ({said})") from error
