"""Plug-ins by file name: a family is a package, a member is one public module with ``Config`` and ``build``.

``{name: vad, token_dim: 64}`` in YAML is parsed by ``planners/vad.py``'s own ``Config`` before anything runs. Nothing
is registered and no list is edited; a dotted name is an import path, so a plug-in may live outside the repository.
"""

import difflib
import importlib
import importlib.util
import pkgutil
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, dataclass_transform

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as pydantic_dataclass

C = TypeVar("C")


@dataclass_transform(frozen_default=True, kw_only_default=True)
def config_dataclass(cls: type[C]) -> type[C]:
    """A frozen, keyword-only pydantic dataclass that refuses unknown keys."""
    config = ConfigDict(extra="forbid", validate_default=True)
    made: type[C] = pydantic_dataclass(frozen=True, kw_only=True, config=config)(cls)  # type: ignore[assignment]
    return made


class Family:
    """The members of one plug-in package.

    ``package`` is the import path of the package, usually ``__name__`` of its ``__init__``.
    """

    def __init__(self, package: str) -> None:
        self.package = package

    def names(self) -> list[str]:
        """Public modules of the family, sorted."""
        spec = importlib.util.find_spec(self.package)
        assert spec is not None and spec.submodule_search_locations is not None, self.package
        found = pkgutil.iter_modules(spec.submodule_search_locations)
        return sorted(module.name for module in found if not module.name.startswith("_"))

    def module(self, name: str) -> Any:
        """Import the module of plug-in ``name``; raises ``ValueError`` with the nearest match for an unknown one."""
        path = name if "." in name else f"{self.package}.{name}"
        if "." not in name and name not in self.names():
            raise ValueError(unknown("plug-in", name, self.names(), where=self.package))
        try:
            module = importlib.import_module(path)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{path}.".startswith(f"{error.name}."):
                raise
            raise ValueError(f"no plug-in '{name}': there is no module '{error.name}' to import") from error
        for attribute in ("Config", "build"):
            if not hasattr(module, attribute):
                raise ValueError(f"'{path}' is no plug-in: it has no '{attribute}'")
        return module

    def parse(self, value: Any) -> Any:
        """The typed ``Config`` of ``{name: ..., **options}``; a ready ``Config`` passes unchanged.

        Raises ``ValueError`` that names the plug-in, the key and the nearest allowed one.
        """
        if is_dataclass(value) and not isinstance(value, type):
            return value
        if isinstance(value, str):
            value = {"name": value}
        if not isinstance(value, Mapping) or "name" not in value:
            raise ValueError(f"expected a mapping with a 'name' out of {self.names()}, got {value!r}")
        options = {key: option for key, option in value.items() if key != "name"}
        config_class = self.module(value["name"]).Config
        try:
            return TypeAdapter(config_class).validate_python(options)
        except ValidationError as error:
            raise ValueError(explain(error, config_class, prefix=value["name"])) from None

    def dump(self, config: Any) -> dict[str, Any]:
        """The mapping that ``parse`` turns back into ``config``."""
        module = type(config).__module__
        name = module.removeprefix(f"{self.package}.")
        return {"name": name, **TypeAdapter(type(config)).dump_python(config, mode="json")}

    def build(self, config: Any, **runtime: Any) -> Any:
        """Build the member that ``config`` belongs to; ``runtime`` are live objects."""
        return importlib.import_module(type(config).__module__).build(config, **runtime)


def unknown(what: str, name: str, known: list[str], where: str = "") -> str:
    """An error text for an unknown name, with the nearest known one."""
    nearest = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean '{nearest[0]}'?" if nearest else ""
    place = f" in {where}" if where else ""
    return f"no {what} '{name}'{place}; known: {known}{hint}"


def explain(error: ValidationError, config_class: type, prefix: str) -> str:
    """One line a problem of a failed parse, with "did you mean" for unknown keys."""
    known = [field.name for field in fields(config_class)]
    lines = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "unexpected_keyword_argument":
            lines.append(f"{prefix}.{key}: {unknown('key', key, known)}")
        else:
            lines.append(f"{prefix}.{key}: {problem['msg']}, got {problem['input']!r}")
    return "; ".join(lines)
