import subprocess
import sys
from dataclasses import replace
from typing import get_args

import pytest
import torch
from tests.metrics.figures import judge

from polyscene.config.schema import Recipe
from polyscene.metrics import protocols
from polyscene.metrics.protocols import PROTOCOLS
from polyscene.tasks import Edges, Saliency, sets


def test_a_protocol_is_found_by_its_name_or_is_one() -> None:
    assert protocols.find("sak") is PROTOCOLS["sak"] and protocols.find(PROTOCOLS["sak"]) is PROTOCOLS["sak"]
    with pytest.raises(ValueError, match=r"unknown protocol 'invtp'; did you mean 'invpt'"):
        protocols.find("invtp")
    with pytest.raises(ValueError, match="unknown protocol"):
        Saliency().metric("imagenet")


def test_the_table_is_named_as_its_entries() -> None:
    assert all(name == protocol.name and protocol.of for name, protocol in PROTOCOLS.items())


def test_pictures_come_to_the_network_by_a_recipe_there_is() -> None:
    assert {protocol.recipe for protocol in PROTOCOLS.values()} == {*get_args(Recipe)}
    assert {PROTOCOLS[name].recipe for name in ("invpt", "atrc", "sak")} == {"invpt"}


def test_names_can_be_checked_without_torch() -> None:
    script = "import sys; from polyscene.metrics.protocols import PROTOCOLS; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_published_protocols_ask_for_the_exact_boundary_and_ours_for_the_quick_one() -> None:
    assert PROTOCOLS["polyscene"].boundary.measure == "quick"
    for name in ("invpt", "atrc", "mtlpt", "astmt", "sak"):
        assert PROTOCOLS[name].boundary.measure == "exact"
        assert type(Edges().metric(PROTOCOLS[name].quick())) is type(Edges().metric())
    ours = PROTOCOLS["polyscene"].exact()
    assert ours.boundary.measure == "exact" and ours.depth == PROTOCOLS["polyscene"].depth


def test_invpt_and_sak_differ_in_all_that_the_papers_tables_mix() -> None:
    invpt, sak = PROTOCOLS["invpt"], PROTOCOLS["sak"]
    assert invpt.saliency.score != sak.saliency.score
    assert invpt.boundary.nms != sak.boundary.nms and invpt.boundary.strict != sak.boundary.strict
    assert invpt.boundary.truth != sak.boundary.truth and invpt.boundary.images != sak.boundary.images


def test_strokes_are_traced_around_where_labels_are_strokes() -> None:
    """The boundary of a wide stroke is two lines, and a prediction of both is perfect; its middle is one."""
    truth, both, middle = torch.zeros(3, 1, 1, 40, 40)
    truth[..., 10:15] = 1
    both[..., [9, 14]] = 1
    middle[..., 12] = 1
    for strokes, best, other in ((True, both, middle), (False, middle, both)):
        rules = replace(PROTOCOLS["invpt"], boundary=replace(PROTOCOLS["invpt"].boundary, nms="none"))
        near, far = (
            judge(Edges(max_dist=0.02, strokes=strokes).metric(rules), (value, truth)) for value in (best, other)
        )
        assert near["odsF"] > 90 > far["odsF"]


def test_lines_are_matched_further_apart_on_nyuv2() -> None:
    assert [task.max_dist for task in (*sets.NYUV2, *sets.PASCAL_CONTEXT) if isinstance(task, Edges)] == [0.011, 0.0075]


def test_words_tell_protocols_apart() -> None:
    for kind in ("segmentation", "depth", "normals", "saliency", "boundary"):
        rules = {getattr(protocol, kind) for protocol in PROTOCOLS.values()}
        assert len({rule.words() for rule in rules}) == len(rules)
