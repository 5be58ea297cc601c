"""onnxruntime reports to its maker from its import on, unless a variable forbids it before."""

import subprocess
import sys

CODE = """
import os, pathlib, sys
from dima_pipeline.serving.bundle import open_session
assert "onnxruntime" not in sys.modules, "imported before telemetry is off"
try:
    open_session(pathlib.Path("nowhere.onnx"), 1)
except Exception:
    pass
assert "onnxruntime" in sys.modules
print(os.environ["ORT_DISABLE_TELEMETRY"])
"""


def test_telemetry_is_off_before_onnxruntime_is_imported():
    result = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "1"
