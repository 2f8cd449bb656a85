"""Methods that other packages bring: found through their entry points."""

from __future__ import annotations

from importlib.metadata import entry_points

from mlo import ConfigError

GROUP = "mlo_nas.methods"
"""A package names its module under this group; importing it defines the method."""


def load_plugins() -> None:
    """Import every module that an installed package has named as one with methods.

    Raises:
        ConfigError: If one cannot be imported; the message names it.
    """
    for point in entry_points(group=GROUP):
        try:
            point.load()
        except Exception as error:
            raise ConfigError(
                f"method plug-in {point.name!r} ({point.value}) cannot be imported ({error}): mend or uninstall it"
            ) from error
