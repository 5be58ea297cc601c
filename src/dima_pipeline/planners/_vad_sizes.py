"""Sizes of the planner ``vad``: what ``size`` fills in where a configuration says nothing itself.

``vad_tiny`` and ``vad_base`` have the shapes of VAD's configurations (Jiang et al., ICCV 2023). Beside them, VAD takes
images of ``IMAGE_SIZES`` and queues of 3 and 4 keyframes: ``window.num_past_frames`` 2 and 3.
"""

from typing import Any

from pydantic_core import ArgsKwargs

_VAD: dict[str, Any] = {
    "parts": "vad",
    "backbone": "resnet50",
    "token_dim": 256,
    "feature_dim": 512,
    # Four heights of a pillar from -1.5 m to 1.5 m around the LIDAR, which stands 1.84 m high.
    "heights_m": (0.34, 1.34, 2.34, 3.34),
    "num_heads": 8,
    "num_agent_queries": 300,
    "num_map_queries": 100,
}
PRESETS: dict[str, dict[str, Any]] = {
    "tiny_cpu": {},
    "vad_tiny": {
        **_VAD,
        "num_stages": 1,
        "num_levels": 1,
        "bev_shape": (100, 100),
        "num_bev_layers": 3,
        "num_decoder_layers": 3,
    },
    "vad_base": {
        **_VAD,
        "num_stages": 3,
        "num_levels": 4,
        "bev_shape": (200, 200),
        "num_bev_layers": 6,
        "num_decoder_layers": 6,
    },
}
IMAGE_SIZES = {"vad_tiny": (384, 640), "vad_base": (736, 1280)}
"""Height and width (pixels): 1600 x 900 times 0.4 and 0.8, padded to multiples of 32."""


def fill(given: Any) -> Any:
    """The options of a configuration with those of its ``size`` below them; what is no size is refused later."""
    options = given.kwargs or {} if isinstance(given, ArgsKwargs) else given
    if not isinstance(options, dict):
        return given
    size = options.get("size", "tiny_cpu")
    preset = PRESETS.get(size, {}) if isinstance(size, str) else {}
    filled = {**preset, **options}
    return ArgsKwargs(given.args, filled) if isinstance(given, ArgsKwargs) else filled
