"""Imports OpenVINO without its telemetry.

`import openvino` starts a process that reports to a web service, unless `openvino_telemetry` cannot be imported: then
its own stub takes over. So that package is hidden while OpenVINO is imported, and only then.
"""

from __future__ import annotations

import sys
from typing import Any

_HIDDEN = "openvino_telemetry"


def import_openvino() -> Any:
    """The `openvino` module; nothing is sent. Where the program has imported it before, that is left as it is."""
    if "openvino" not in sys.modules and _HIDDEN not in sys.modules:
        sys.modules[_HIDDEN] = None  # type: ignore[assignment]  # the documented way to make an import fail
        try:
            import openvino
        finally:
            del sys.modules[_HIDDEN]
        return openvino
    import openvino

    return openvino
