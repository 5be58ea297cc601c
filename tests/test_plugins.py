"""Plug-ins: a file name is a name, a typo is answered with the nearest name, and one new file is enough."""

import sys
from pathlib import Path

import pytest

from dima_pipeline.metrics import METRICS
from dima_pipeline.plugins import Family
from dima_pipeline.slices import SLICES
from dima_pipeline.surrogates import SURROGATES

PLUGIN = '''
"""A plug-in of a user."""
from dima_pipeline.plugins import config_dataclass

@config_dataclass
class Config:
    threshold_m: float = 1.0

class Thing:
    def __init__(self, config, **runtime):
        self.config, self.runtime = config, runtime

build = Thing
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An importable package ``their_family`` with one member ``near``."""
    folder = tmp_path / "their_family"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "near.py").write_text(PLUGIN)
    (folder / "_private.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "their_family"
    for name in [name for name in sys.modules if name.startswith("their_family")]:
        del sys.modules[name]


def test_a_file_in_the_package_is_a_plugin_and_private_files_are_not(package):
    assert Family(package).names() == ["near"]


def test_yaml_becomes_a_typed_config_and_back(package):
    family = Family(package)
    config = family.parse({"name": "near", "threshold_m": 2})
    assert config.threshold_m == 2.0
    assert family.dump(config) == {"name": "near", "threshold_m": 2.0}
    assert family.parse(family.dump(config)) == config
    assert family.parse(config) is config
    assert family.parse("near").threshold_m == 1.0


def test_build_passes_live_objects(package):
    family = Family(package)
    thing = family.build(family.parse({"name": "near"}), device="cpu")
    assert thing.runtime == {"device": "cpu"}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"name": "neer"}, "did you mean 'near'"),
        ({"name": "near", "treshold_m": 1}, "did you mean 'threshold_m'"),
        ({"name": "near", "threshold_m": "far"}, "near.threshold_m: .*valid number"),
        ({"threshold_m": 1}, "expected a mapping with a 'name'"),
        ({"name": "not_there.at_all"}, "no module 'not_there'"),
        ({"name": "json.decoder"}, "has no 'Config'"),
    ],
)
def test_a_mistake_is_named_with_what_is_allowed(package, value, message):
    with pytest.raises(ValueError, match=message):
        Family(package).parse(value)


@pytest.mark.parametrize("family", [METRICS, SLICES, SURROGATES])
def test_a_dotted_name_is_a_plugin_from_outside_the_repository(package, family):
    config = family.parse({"name": "their_family.near", "threshold_m": 3})
    assert family.dump(config)["name"] == "their_family.near"
    assert family.build(config).config.threshold_m == 3
