"""Numbers with their bounds, for keywords whose values a configuration checks before anything is built."""

from typing import Annotated

from pydantic import Field

Count = Annotated[int, Field(gt=0)]
Several = Annotated[int, Field(ge=2)]
Amount = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Between = Annotated[float, Field(gt=0, lt=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]  # of a moving average, an update
