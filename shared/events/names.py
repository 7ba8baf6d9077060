"""The closed sets of names that events are made of.

Lives here: stages, pools, modes, devices. Does not live here: which stage needs which (`shared.job.stages`).
"""

from typing import Literal

Stage = Literal["audio", "transcribe", "translate", "tts", "mix", "mux"]
Pool = Literal["cpu", "gpu"]
Mode = Literal["high", "medium", "low"]
Device = Literal["auto", "cuda", "cpu"]
