"""How the decoders are built, a drawing each: python docs/pictures/methods.py writes docs/pictures/figures/*.svg."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from drawing import Figure, Rect

WIDTH, HEIGHT = 720, 190
ROWS = {"a": 52, "b": 132}  # of segmentation, and of depth
NAMES = {"a": "segmentation", "b": "depth"}
MIDDLE = 92
OUT = 606
PYRAMID = (104, 76, 52, 34)


def encoder(f: Figure, x: float = 16, y: float = MIDDLE, text: str = "encoder", scale: float = 1) -> list[Rect]:
    maps = f.bars(x, y, [height * scale for height in PYRAMID])
    f.text(x + 36, y + PYRAMID[0] * scale / 2 + 16, text, "s")
    return maps


def vit(f: Figure, x: float = 16, text: str = "plain ViT") -> list[Rect]:
    maps = f.bars(x, MIDDLE, [64] * 4)
    f.text(x + 36, MIDDLE + 52, text, "s")
    return maps


def outputs(f: Figure, starts: dict[str, Rect]) -> None:
    for task, start in starts.items():
        end = f.box(OUT, ROWS[task] - 15, 104, 30, NAMES[task], task)
        f.arrow(start.at("r"), end.at("l"), kind=task)


def a_task(f: Figure, x: float, w: float, text: str, h: float = 44) -> dict[str, Rect]:
    """A box in each task's row."""
    return {task: f.box(x, row - h / 2, w, h, text, task) for task, row in ROWS.items()}


def forked(f: Figure, start: Rect, ends: dict[str, Rect], turn: float | None = None) -> None:
    x, y = start.at("r")
    middle = (x + ends["a"].x) / 2 if turn is None else turn
    for task, end in ends.items():
        f.arrow((middle, y), (middle, ROWS[task]), end.at("l"), kind=task)
    f.line([(x, y), (middle, y)])


def straight(f: Figure, starts: dict[str, Rect], ends: dict[str, Rect]) -> None:
    for task in ROWS:
        f.arrow(starts[task].at("r"), ends[task].at("l"), kind=task)


def crossed(f: Figure, starts: dict[str, Rect], ends: dict[str, Rect]) -> None:
    """What each task sends the other."""
    f.arrow(starts["a"].at("r", 0.75), ends["b"].at("l", 0.25), kind="a")
    f.arrow(starts["b"].at("r", 0.25), ends["a"].at("l", 0.75), kind="b")


def initial(f: Figure, x: float = 214, fuse: bool = True) -> dict[str, Rect]:
    """Every task's own features, with an early prediction."""
    maps = encoder(f)
    start = maps[-1]
    if fuse:
        start = f.box(118, MIDDLE - 22, 62, 44, "fuse")
        f.arrow(maps[-1].at("r"), start.at("l"))
    found = a_task(f, x, 92, "features")
    forked(f, start, found)
    for task, up in (("a", -1), ("b", 1)):
        x0, y0 = found[task].at("t" if up < 0 else "b")
        f.arrow((x0, y0), (x0, y0 + 15 * up), kind=task, dash=True)
        f.text(x0, y0 + 23 * up, "early prediction", f"s {task}")
    return found


def single_task(f: Figure) -> None:
    for task, row in ROWS.items():
        maps = f.bars(16, row, [0.62 * height for height in PYRAMID], task)
        decoder = f.box(300, row - 22, 150, 44, "decoder", task)
        f.arrow(maps[-1].at("r"), decoder.at("l"), kind=task)
        f.text(190, row - 11, "encoder of its own", "s")
        outputs(f, {task: decoder})


def multi_head(f: Figure) -> None:
    maps = encoder(f)
    fuse = f.box(190, MIDDLE - 26, 110, 52, "fuse all levels,\nonce")
    f.arrow(maps[-1].at("r"), fuse.at("l"))
    heads = a_task(f, 400, 130, "light branch")
    forked(f, fuse, heads)
    outputs(f, heads)


def deeplab(f: Figure) -> None:
    maps = encoder(f)
    heads = a_task(f, 300, 210, "dilated convolutions of\nseveral rates, joined", 50)
    forked(f, maps[-1], heads, 250)
    f.text(170, MIDDLE - 11, "coarsest level only", "s")
    outputs(f, heads)


def vit_light(f: Figure) -> None:
    maps = vit(f)
    heads = a_task(f, 300, 210, "levels summed,\nlight convolutions", 50)
    join = f.box(170, MIDDLE - 22, 70, 44, "4 levels")
    f.arrow(maps[-1].at("r"), join.at("l"))
    forked(f, join, heads)
    outputs(f, heads)


def between_stages(f: Figure, symbol: str, text: str, wide: bool) -> None:
    ends: dict[str, Rect] = {}
    for stage, x in enumerate((16, 146, 276)):
        boxes = a_task(f, x, 62, f"stage {stage + 1}", 40)
        if ends:
            for task in ROWS:
                f.arrow(ends[task].at("r"), boxes[task].at("l"), kind=task)
        ends = {}
        if wide:
            f.box(x + 78, ROWS["a"] - 20, 28, ROWS["b"] - ROWS["a"] + 40)
            f.text(x + 92, MIDDLE, symbol, "s")
            for task, row in ROWS.items():
                f.arrow(boxes[task].at("r"), (x + 78, row), kind=task)
                ends[task] = Rect(x + 78, row - 10, 28, 20)
        else:
            for task, row in ROWS.items():
                ends[task] = f.disc(x + 92, row, symbol, task)
                f.arrow(boxes[task].at("r"), ends[task].at("l"), kind=task)
            f.arrow(boxes["a"].at("r", 0.7), ends["b"].at("t"), kind="a")
            f.arrow(boxes["b"].at("r", 0.3), ends["a"].at("b"), kind="b")
    f.text(16, HEIGHT - 12, text, "s left")
    decoders = a_task(f, 420, 140, "decoder")
    straight(f, ends, decoders)
    outputs(f, decoders)


def cross_stitch(f: Figure) -> None:
    between_stages(f, "+", "after each stage: weighted sums, a weight a pair of tasks and channel", False)


def nddr(f: Figure) -> None:
    between_stages(f, "1×1", "after each stage: a convolution over the channels of all tasks", True)


def mtan(f: Figure) -> None:
    taken: dict[str, Rect] = {}
    before: Rect | None = None
    for stage, x in enumerate((16, 146, 276)):
        shared = f.box(x, MIDDLE - 20, 70, 40, f"stage {stage + 1}")
        if before:
            f.arrow(before.at("r"), shared.at("l"))
        before = shared
        for task, row in ROWS.items():
            y = row - 12 if task == "a" else row + 12
            mask = f.disc(x + 86, y, "×", task)
            side = "t" if task == "a" else "b"
            x0, y0 = shared.at(side, 0.6)
            f.arrow((x0, y0), (x0, y), mask.at("l"), kind=task)
            if task in taken:
                f.line([taken[task].at("r"), (x0, y)], task)
            taken[task] = mask
    f.text(130, HEIGHT - 14, "× mask of a task, by channel and place", "s left")
    decoders = a_task(f, 430, 130, "decoder")
    for task in ROWS:
        f.elbow(taken[task].at("r"), decoders[task].at("l"), task)
    outputs(f, decoders)


def pad_net(f: Figure) -> None:
    found = initial(f)
    gates = {task: f.box(392, row - 22, 62, 44, "gate", task) for task, row in ROWS.items()}
    refined = a_task(f, 500, 74, "refined")
    straight(f, found, gates)
    crossed(f, found, gates)
    straight(f, gates, refined)
    outputs(f, refined)


def pap(f: Figure) -> None:
    found = initial(f)
    mix = f.box(362, MIDDLE - 32, 118, 64, "which places\nare alike,\nsaid by all tasks")
    spread = a_task(f, 500, 74, "spread")
    for task in ROWS:
        share = 0.25 if task == "a" else 0.75
        f.elbow(found[task].at("r", 0.75 if task == "a" else 0.25), mix.at("l", share), task, 334)
        f.arrow(
            found[task].at("r", 0.25 if task == "a" else 0.75),
            spread[task].at("l", 0.25 if task == "a" else 0.75),
            kind=task,
        )
        f.elbow(mix.at("r", share), spread[task].at("l", 0.75 if task == "a" else 0.25), task, 490)
    outputs(f, spread)


def psd(f: Figure) -> None:
    found = initial(f)
    within = a_task(f, 344, 92, "likeness to\nneighbours", 44)
    between = a_task(f, 466, 112, "spread within\nand between", 44)
    straight(f, found, within)
    straight(f, within, between)
    crossed(f, within, between)
    outputs(f, between)


def mti_net(f: Figure) -> None:
    encoder(f)
    scales = (20, 62, 104, 146)
    for index, y in enumerate(scales):
        own = {"a": f.box(172, y - 15, 44, 30, "", "a"), "b": f.box(222, y - 15, 44, 30, "", "b")}
        f.text(144, y, ("1/4", "1/8", "1/16", "1/32")[index], "s")
        exchange = f.box(318, y - 15, 92, 30, "gates")
        f.arrow(own["b"].at("r"), exchange.at("l"))
        if index:
            f.arrow((219, y - 16), (219, scales[index - 1] + 16))
        for task, x in (("a", 452), ("b", 478)):
            f.line([exchange.at("r", 0.3 if task == "a" else 0.7), (x, y - 6 if task == "a" else y + 6)], task)
    f.text(150, HEIGHT - 12, "features of each task and scale; the coarse help the fine", "s left")
    for task, x in (("a", 452), ("b", 478)):
        f.line([(x, scales[0] - (6 if task == "a" else -6)), (x, scales[-1] + (-6 if task == "a" else 6))], task)
    joined = a_task(f, 512, 62, "join", 36)
    f.arrow((452, ROWS["a"]), joined["a"].at("l"), kind="a")
    f.arrow((478, ROWS["b"]), joined["b"].at("l"), kind="b")
    outputs(f, joined)
    f.arrow((98, MIDDLE), (126, MIDDLE))


def atrc(f: Figure) -> None:
    maps = encoder(f)
    fuse = f.box(118, MIDDLE - 22, 62, 44, "fuse")
    f.arrow(maps[-1].at("r"), fuse.at("l"))
    found = a_task(f, 214, 84, "features")
    forked(f, fuse, found)
    asks = a_task(f, 380, 190, "attends to each source:\nglobal, local or by class", 50)
    straight(f, found, asks)
    crossed(f, found, asks)
    f.text(475, HEIGHT - 12, "which of these, a search found for every pair", "s")
    outputs(f, asks)


def dense_mtl(f: Figure) -> None:
    maps = encoder(f)
    up = {task: f.bars(186, row, [0.6 * height for height in PYRAMID[:0:-1]], task, 10) for task, row in ROWS.items()}
    forked(f, maps[-1], {task: steps[0] for task, steps in up.items()}, 140)
    f.text(215, MIDDLE, "U-Net a task", "s")
    exchange = a_task(f, 330, 92, "+ xTAM", 36)
    last = f.bars(470, ROWS["a"], [58], "a")[0], f.bars(470, ROWS["b"], [58], "b")[0]
    for task, end in zip(ROWS, last, strict=True):
        f.arrow(up[task][-1].at("r"), exchange[task].at("l"), kind=task)
        f.arrow(exchange[task].at("r"), end.at("l"), kind=task)
    f.arrow(up["a"][-1].at("r", 0.85), exchange["b"].at("l", 0.15), kind="a")
    f.arrow(up["b"][-1].at("r", 0.15), exchange["a"].at("l", 0.85), kind="b")
    f.text(476, HEIGHT - 8, "last stage", "s")
    outputs(f, dict(zip(ROWS, last, strict=True)))


def invpt(f: Figure) -> None:
    maps = encoder(f)
    own = {task: f.box(132, row - 18, 76, 36, "features", task) for task, row in ROWS.items()}
    forked(f, maps[-1], own, 112)
    stages = []
    for x, h, text in ((256, 56, "1/32"), (366, 84, "1/16"), (476, 112, "1/8")):
        stages.append(f.box(x, MIDDLE - h / 2, 76, h, f"attention\n{text}"))
    for task in ROWS:
        f.elbow(own[task].at("r"), stages[0].at("l", 0.3 if task == "a" else 0.7), task)
    for one, other in pairwise(stages):
        f.arrow(one.at("r"), other.at("l"))
    f.line([maps[1].at("t"), (42, 14)])
    f.arrow((42, 14), (404, 14), (404, stages[1].y))
    f.line([(404, 14), (514, 14)])
    f.arrow((514, 14), (514, stages[2].y))
    f.text(300, 24, "finer levels of the encoder", "s")
    f.text(404, HEIGHT - 8, "places of all tasks attend to each other; scores are passed on", "s")
    for task, row in ROWS.items():
        end = f.box(OUT, row - 15, 104, 30, NAMES[task], task)
        f.arrow((552, row), end.at("l"), kind=task)


def taskprompter(f: Figure) -> None:
    before: Rect | None = None
    for x in (30, 150, 270):
        block = f.box(x, 22, 84, 136, "")
        f.text(x + 42, 140, "block", "s")
        for task, y in (("a", 46), ("b", 70)):
            f.disc(x + 42, y, "", task, 8)
        f.box(x + 12, 92, 60, 28, "patches")
        if before:
            f.arrow((before.x + 84, 106), (x, 106))
            for task, y in (("a", 46), ("b", 70)):
                f.arrow((before.x + 84, y), (x, y), kind=task)
        before = block
    f.text(30, HEIGHT - 12, "a prompt token a task (circles) goes through the blocks with the patches", "s left")
    take = a_task(f, 400, 160, "what the prompt\nattends to, enlarged", 50)
    f.elbow((354, 46), take["a"].at("l"), "a")
    f.elbow((354, 70), take["b"].at("l"), "b")
    outputs(f, take)


DECODERS: Sequence[Callable[[Figure], None]] = (
    single_task, multi_head, deeplab, vit_light, cross_stitch, nddr, mtan, pad_net, pap, psd, mti_net, atrc, dense_mtl,
    invpt, taskprompter,
)  # fmt: skip


def figures() -> Iterator[Figure]:
    for draw in DECODERS:
        figure = Figure(draw.__name__, WIDTH, HEIGHT)
        draw(figure)
        yield figure


if __name__ == "__main__":
    for drawn in figures():
        drawn.save()
