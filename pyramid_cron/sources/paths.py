"""Where the files lie that an application names."""

from __future__ import annotations

import os
from typing import Any

from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError
from pyramid.path import AssetResolver


def resolve_path(config: Configurator, path: Any) -> str:
    """Return the absolute path of a path, or of an asset specification such as ``shop:cron``."""
    try:
        name = os.fspath(path)
    except TypeError:
        name = None
    if not isinstance(name, str) or not name or "\0" in name:
        raise ConfigurationError(
            f"path={path!r}: must be a path, or an asset specification such as 'shop:cron'"
        )
    package = name.partition(":")[0]
    if ":" not in name or os.path.isabs(name) or not package.replace(".", "").isidentifier():
        return os.path.abspath(name)
    try:
        return str(os.path.normpath(AssetResolver(config.package).resolve(name).abspath()))
    except Exception as error:
        raise ConfigurationError(
            f"path={name!r}: the package {package!r} can't be imported ({error})"
        ) from error
