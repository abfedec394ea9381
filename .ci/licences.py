"""Licences of all that installing the package brings along (extras apart), and the versions that were tested.

``python .ci/licences.py`` prints a line a package and exits with 1 if one is copyleft, forbids commercial use, or does
not say; ``--constraints FILE`` writes the installed versions for ``pip install -c FILE`` instead.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement

PACKAGE = "polyscene"
NOT_WANTED = re.compile(
    r"\b(A?GPL|LGPL|MPL|EPL|CDDL|EUPL|SSPL|OSL)\b|GENERAL PUBLIC LICEN[CS]E|MOZILLA PUBLIC|NON-?COMMERCIAL"
    r"|\bBY-NC|PROPRIETARY|\bBUSL\b",
    re.IGNORECASE,
)
FREE = re.compile(
    r"MIT|BSD|APACHE|ISC|ZLIB|PSF|PYTHON SOFTWARE|CC0|HPND|UNLICENSE|BSL-1|REDISTRIBUTION AND USE IN SOURCE",
    re.IGNORECASE,
)
# What would fail otherwise, with the reason why it may stay.
ACCEPTED = {
    "tqdm": "MPL-2.0 binds changes of tqdm's own files alone; it comes with huggingface_hub and is not changed here",
    "nvidia": "the CUDA libraries of torch's GPU builds, proprietary and free to use; torch's CPU builds have none",
    "cuda-toolkit": "names NVIDIA's packages and holds nothing itself",
}


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--constraints", metavar="FILE", help="write versions instead, those of the extra dev too")
    options = parser.parse_args(words)
    if options.constraints:
        with open(options.constraints, "w") as file:
            file.write("# The versions that were tested last; `make constraints` writes them.\n")
            file.writelines(f"{line}\n" for line in versions())
        return 0
    wrong = 0
    for name, package in sorted(needed(PACKAGE, "").items()):
        told = licence(package)
        reason = next((why for start, why in ACCEPTED.items() if name == start or name.startswith(f"{start}-")), None)
        complaint = None if reason else problem(told)
        wrong += complaint is not None
        note = f"   accepted: {reason}" if reason else f"   NOT ACCEPTED: {complaint}" if complaint else ""
        print(f"{name:<34}{package.version:<14}{told[:60]}{note}")
    print(f"{wrong} not accepted" if wrong else "nothing copyleft or non-commercial but what is accepted above")
    return int(wrong > 0)


def needed(name: str, extra: str) -> dict[str, Distribution]:
    """Installed packages that ``name`` needs, directly or not, by name."""
    found: dict[str, Distribution] = {}
    waiting = list(_requirements(distribution(name), extra))
    while waiting:
        wanted, extras = waiting.pop()
        if wanted in found or wanted == PACKAGE:
            continue
        try:
            found[wanted] = distribution(wanted)
        except PackageNotFoundError:  # of another system
            continue
        for each in ("", *extras):
            waiting += _requirements(found[wanted], each)
    return found


def _requirements(package: Distribution, extra: str) -> Iterator[tuple[str, set[str]]]:
    for line in package.requires or ():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            yield re.sub(r"[-_.]+", "-", requirement.name).lower(), requirement.extras


def licence(package: Distribution) -> str:
    """In a line: what the package says, else the beginning of its licence file."""
    facts = package.metadata
    stated = facts.get("License-Expression") or ", ".join(
        each.rpartition(" :: ")[2] for each in facts.get_all("Classifier", []) if each.startswith("License ::")
    )
    stated = stated or " ".join(facts.get("License", "").split())
    if stated and stated != "UNKNOWN":
        return stated
    for file in package.files or ():
        if re.search(r"(^|/)(LICEN[CS]E|COPYING)", str(file), re.IGNORECASE) and (text := file.read_text()):
            return " ".join(text.split())
    return "not stated"


def problem(told: str) -> str | None:
    if found := NOT_WANTED.search(told):
        return found[0]
    return None if FREE.search(told) else "no licence is stated that is known to be free"


def versions() -> list[str]:
    both = needed(PACKAGE, "") | needed(PACKAGE, "dev")
    return [f"{name}=={package.version.partition('+')[0]}" for name, package in sorted(both.items())]


if __name__ == "__main__":
    sys.exit(main())
