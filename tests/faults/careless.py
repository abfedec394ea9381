"""A door with every fault that the watch of ``benchmarks/fuzz_doors.py`` is there to see."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks import fuzz_doors


class Careless(fuzz_doors.Entrance):
    errors = (ValueError,)

    def attempt(self, rng: object) -> None:
        self.count = getattr(self, "count", 0) + 1
        match self.count:
            case 1:
                raise ValueError("documented")
            case 2:
                raise KeyError("not documented")
            case 3:
                (self.folder / "inside").write_text("")
            case 4:
                Path(self.folder.parent / "polyscene-outside").write_text("")
            case 5:
                Path("/etc/hostname").read_text()
            case 6:
                while True:
                    pass


if __name__ == "__main__":
    fuzz_doors.DOORS["careless"] = Careless
    fuzz_doors.SLOW = 0.2
    print(json.dumps(fuzz_doors.fuzz("careless", 6, seed=0)))
