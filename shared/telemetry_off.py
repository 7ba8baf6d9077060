"""onnxruntime tells its maker nothing.

Lives here: the switch. From 1.31 on its Linux wheels have a telemetry client, which starts when the library is loaded
(it writes TMPDIR/.ses and a database below ~/.cache, and would send to the internet), so the environment must say no
before anything imports it; `onnxruntime.disable_telemetry_events()` comes too late for that.
"""

import os

SWITCH = "ORT_DISABLE_TELEMETRY"


def turn_telemetry_off() -> None:
    """Do so for this process and all that it starts; before anything imports onnxruntime."""
    os.environ[SWITCH] = "1"
