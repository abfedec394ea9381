"""The network as a whole, and its parts that are more than a few boxes:
python docs/pictures/structures.py writes docs/pictures/figures/*.svg."""

from __future__ import annotations

from collections.abc import Iterator

from drawing import Figure


def network(f: Figure) -> None:
    views = f.box(16, 66, 84, 60, "pictures,\none or more")
    encoder = f.bars(138, 96, (104, 76, 52, 34))
    f.text(174, 164, "encoder", "s")
    neck = f.box(252, 70, 74, 52, "neck", early=True)
    decoder = f.box(364, 62, 84, 68, "decoder")
    f.arrow(views.at("r"), encoder[0].at("l"))
    f.arrow(encoder[-1].at("r"), neck.at("l"))
    f.arrow(neck.at("r"), decoder.at("l"))
    f.arrow((58, 66), (58, 22), (289, 22), neck.at("t"), dash=True)
    f.text(176, 34, "other views, cameras", "s")
    for index, (name, kind) in enumerate((("classes", "a"), ("depth", "b"), ("normals", "c"), ("edges", "k"))):
        y = 27 + 46 * index
        head = f.box(500, y - 14, 56, 28, "head", kind)
        out = f.box(600, y - 15, 104, 30, name, kind)
        f.elbow(decoder.at("r"), head.at("l"), kind, 474)
        f.arrow(head.at("r"), out.at("l"), kind=kind)
    f.line([decoder.at("r"), (474, 96)])
    branch = f.box(344, 196, 124, 40, "regularizer", early=True)
    f.arrow((345, 96), (345, 176), (406, 176), branch.at("t"), dash=True)
    f.arrow(branch.at("r"), (600, 216), dash=True)
    f.text(652, 216, "training only", "s")


def xtam(f: Figure) -> None:
    x = f.box(16, 24, 96, 44, "x, of\nsegmentation", "a")
    y = f.box(16, 166, 96, 44, "y, of\ndepth", "b")
    conv = f.box(146, 170, 76, 36, "3×3 conv", "b")
    query = f.box(262, 28, 86, 36, "query", "a")
    key = f.box(262, 100, 86, 36, "key, value", "b")
    attention = f.box(390, 58, 106, 48, "attention over\nall cells")
    gate = f.box(390, 170, 106, 36, "gate: conv, ×")
    gain = f.disc(532, 82, "γ", "k", 12)
    merge = f.box(566, 108, 60, 44, "mix\n1×1")
    plus = f.disc(664, 46, "+", "a", 12)
    f.arrow(x.at("r"), query.at("l"), kind="a")
    f.text(187, 34, "every 4th place", "s")
    f.arrow(y.at("r"), conv.at("l"), kind="b")
    f.elbow(conv.at("r"), key.at("l"), "b", 242)
    f.text(256, 152, "greatest of 4×4", "s left")
    f.arrow(conv.at("r"), gate.at("l"), kind="b")
    f.elbow(query.at("r"), attention.at("l", 0.3), "a")
    f.elbow(key.at("r"), attention.at("l", 0.7), "b")
    f.arrow(attention.at("r"), gain.at("l"))
    f.text(532, 58, "starts at 0", "s")
    f.arrow(gain.at("r"), (596, 82), merge.at("t"))
    f.arrow(gate.at("r"), (596, 188), merge.at("b"))
    f.arrow(merge.at("r"), (664, 130), plus.at("b"))
    f.arrow((64, 24), (64, 10), (664, 10), plus.at("t"), kind="a")
    f.arrow(plus.at("r"), (712, 46), kind="a")


def cross_view(f: Figure) -> None:
    maps = f.bars(150, 52, (72, 54, 38, 26))
    f.text(186, 102, "encoder, as ever", "s")
    rows = {"a": 148, "b": 218}
    names = {"a": "this view", "b": "neighbour"}
    pictures, small, matched = {}, {}, {}
    for task, y in rows.items():
        pictures[task] = f.box(16, y - 20, 88, 40, names[task], task)
        small[task] = f.box(146, y - 20, 84, 40, "small CNN\nto 1/8", task)
        matched[task] = f.box(276, y - 20, 100, 40, "6 blocks\nof attention", task)
        f.arrow(pictures[task].at("r"), small[task].at("l"), kind=task)
        f.arrow(small[task].at("r"), matched[task].at("l"), kind=task)
    f.arrow((60, 128), (60, 52), maps[0].at("l"), kind="a")
    f.arrow(matched["a"].at("b", 0.4), matched["b"].at("t", 0.4), kind="a")
    f.arrow(matched["b"].at("t", 0.6), matched["a"].at("b", 0.6), kind="b")
    volume = f.box(428, 158, 112, 50, "similarity at\n128 planes")
    f.elbow(matched["a"].at("r", 0.7), volume.at("l", 0.3), "a")
    f.elbow(matched["b"].at("r"), volume.at("l", 0.7), "b")
    f.arrow((484, 246), volume.at("b"))
    f.text(484, 256, "cameras of both", "s")
    join = f.box(586, 62, 118, 50, "1×1 conv joins\nthe last level")
    f.arrow(maps[-1].at("r"), (645, 52), join.at("t"))
    f.arrow(matched["a"].at("r", 0.3), (566, 140), (566, 100), join.at("l", 0.76), kind="a")
    f.arrow(volume.at("r"), (645, 183), join.at("b"))
    f.arrow(join.at("r", 0.5), (718, 87))


def cost_volume(f: Figure) -> None:
    inverse = [1 - index / 6 * (1 - 1 / 6) for index in range(7)]
    planes = [74 + 96 / each for each in inverse]
    eye, other, floor = (60.0, 66.0), (60.0, 176.0), 206
    similar = (0.12, 0.2, 0.16, 0.34, 0.95, 0.3, 0.18)
    best = similar.index(max(similar))
    for index, x in enumerate(planes):
        kind = "c" if index == best else "k"
        f.line([(x, 22), (x, floor)], kind, index != best)
        y = eye[1] + (x - eye[0]) * 0.11
        f.line([other, (x, y)], kind if index == best else "b")
        f.disc(x, y, "", kind, 4)
        f.shape(
            [(x - 6, 268), (x - 6, 268 - 46 * similar[index]), (x + 6, 268 - 46 * similar[index]), (x + 6, 268)], kind
        )
    f.arrow(eye, (planes[-1] + 26, eye[1] + (planes[-1] + 26 - eye[0]) * 0.11), kind="a")
    for (x, y), name, kind in ((eye, "this view", "a"), (other, "neighbour", "b")):
        f.shape([(x, y), (x - 34, y - 17), (x - 34, y + 17)], kind)
        f.text(x - 24, y + 32, name, f"s {kind}")
    f.text(planes[best], 12, "the surface", "s c")
    f.text(planes[0] - 22, 258, "similarity", "s right")
    f.text(planes[0], 284, "near", "s")
    f.text(planes[-1], 284, "far", "s")
    f.text(420, 284, "planes even in inverse depth", "s")


def triplane(f: Figure) -> None:
    shared = f.box(16, 92, 84, 52, "shared\nfeatures")
    f.arrow(shared.at("r"), (146, 118))
    x, y, side, deep = 150, 92, 92, 40
    f.shape([(x, y), (x + side, y), (x + side, y + side), (x, y + side)], "a")
    f.shape([(x, y), (x + deep, y - deep), (x + side + deep, y - deep), (x + side, y)], "b")
    f.shape([(x + side, y), (x + side + deep, y - deep), (x + side + deep, y + side - deep), (x + side, y + side)], "c")
    f.text(x + 26, y + side - 20, "XY", "a")
    f.text(x + 46, y - deep / 2, "XZ", "b")
    f.text(x + side + deep / 2, y + side / 2 - deep / 2 + 24, "YZ", "c")
    f.text(x + 66, y + side + 18, "three planes of features", "s")
    start, length = (x + 58, y + 34), 118
    f.arrow(start, (start[0] + length, start[1] - length))
    for share in (0.0, 0.14, 0.28, 0.42, 0.56):
        f.disc(start[0] + share * length, start[1] - share * length, "", "k", 3.5)
    f.text(start[0] + length + 10, start[1] - length + 2, "ray of a pixel", "s left")
    mlp = f.box(400, 92, 92, 52, "mean, two\nlayers")
    f.arrow((290, 118), mlp.at("l"))
    f.text(344, 132, "at each point", "s")
    weigh = f.box(528, 92, 74, 52, "weighed\nalong ray")
    f.arrow(mlp.at("r"), weigh.at("l"))
    for index, (name, kind) in enumerate((("classes", "a"), ("depth", "b"), ("normals", "c"), ("edges", "k"))):
        out = f.box(636, 28 + 50 * index, 72, 30, name, kind)
        f.elbow(weigh.at("r"), out.at("l"), kind, 619)
    f.line([weigh.at("r"), (619, 118)])
    f.text(16, 228, "Judged as the predictions are; removed after training.", "s left")


SIZES = {network: (720, 246), xtam: (720, 222), cross_view: (724, 268), cost_volume: (720, 296), triplane: (720, 240)}


def figures() -> Iterator[Figure]:
    for draw, size in SIZES.items():
        figure = Figure(draw.__name__, *size)
        draw(figure)
        yield figure


if __name__ == "__main__":
    for drawn in figures():
        drawn.save()
