"""What bytes of a file come to."""

from __future__ import annotations

import random

EXTREMES = (
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\0\0\0\x01",
    b"../../",
    b"%00",
)


def scrambled(whole: bytes, rng: random.Random) -> bytes:
    """One to six changes of bytes, half of them among the first, where headers are."""
    data = bytearray(whole)
    for _ in range(rng.randint(1, 6)):
        place = rng.randrange(min(64, len(data)) if rng.random() < 0.5 else len(data))
        match rng.randrange(6):
            case 0:
                data[place] ^= 1 << rng.randrange(8)
            case 1:
                data[place] = rng.randrange(256)
            case 2:
                extreme = rng.choice(EXTREMES)
                data[place : place + len(extreme)] = extreme
            case 3:
                del data[place : place + rng.randint(1, 64)]
            case 4:
                data[place:place] = data[place : place + rng.randint(1, 64)]
            case 5:
                del data[max(place, 1) :]
        if not data:
            return b""
    return bytes(data)
