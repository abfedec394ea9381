"""A live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

LINE_EVERY = 10.0  # seconds between plain lines


class Bar:
    """``with Bar(console, steps, start) as bar: bar.advance(images); bar.show(figures)``"""

    def __init__(self, console: Console, steps: int, start: int) -> None:
        self.console, self.steps, self.step, self.start = console, steps, start, start
        self.live: Progress | None = None
        if console.is_terminal:
            columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[told]}"))
            self.live = Progress(*columns, console=console, refresh_per_second=4)
            self.task = self.live.add_task("training", total=steps, completed=start, told="")
        self.figures: dict[str, float] = {}
        self.images = 0
        self.began = self.told = time.monotonic()

    def __enter__(self) -> Bar:
        if self.live:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live:
            self.live.stop()

    def say(self, line: str) -> None:
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def pause(self, seconds: float) -> None:
        """So long went into something else than steps."""
        self.began += seconds

    def advance(self, images: int) -> None:
        """A step is done."""
        self.step += 1
        self.images += images
        if self.live:
            self.live.update(self.task, completed=self.step, told=self._told())
        elif time.monotonic() - self.told > LINE_EVERY or self.step == self.steps:
            self.told = time.monotonic()
            self.say(f"step {self.step}/{self.steps}  {self._told()}")

    def show(self, figures: dict[str, float]) -> None:
        """Losses and rate to be shown from now on."""
        self.figures = figures

    @property
    def images_a_second(self) -> float:
        return self.images / max(1e-9, time.monotonic() - self.began)

    def _told(self) -> str:
        left = (self.steps - self.step) * (time.monotonic() - self.began) / max(1, self.step - self.start)
        losses = "  ".join(f"{name} {figure:.3g}" for name, figure in self.figures.items())
        return f"{losses}  {self.images_a_second:.1f} images/s  {_clock(left)} left"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
