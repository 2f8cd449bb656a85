"""What other commands read from the folder of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from applications.nas.config_file import from_json
from applications.nas.files import read_object, read_text
from applications.nas.run_folder.folder import CONFIG, GENOTYPE, RESULTS
from applications.nas.settings import SearchSettings
from applications.nas.space.genotype import Genotype
from applications.nas.space.zoo import ZOO
from mlo import ConfigError, DataError


def read_search_settings(path: Path) -> SearchSettings:
    """Read the settings of a search from its folder or from a file.

    Raises:
        ConfigError: If there are none, or they are not well formed.
    """
    file = path / CONFIG if path.is_dir() else path
    if not file.is_file():
        raise ConfigError(f"{file} does not exist: give the folder of a search, or the file of its settings")
    return from_json(SearchSettings, read_text(file), str(file))


def read_genotype(source: str | Path) -> Genotype:
    """Read a cell: a name of the zoo, a genotype file, or the folder of a finished search.

    Raises:
        DataError: If there is none, or it is not well formed.
    """
    if str(source) in ZOO:
        return ZOO[str(source)]
    path = Path(source)
    file = path / GENOTYPE if path.is_dir() else path
    if not file.is_file():
        why = "neither a file nor a published cell"
        if path.is_dir():
            why = "the search has not finished" if (path / CONFIG).exists() else "that is no folder of a search"
        raise DataError(f"{file}: no genotype there ({why}); published cells are {', '.join(ZOO)}")
    try:
        return Genotype.from_json(read_text(file))
    except DataError as error:
        raise error if str(file) in str(error) else DataError(f"{file}: {error}") from error


def read_results(folder: Path) -> dict[str, Any]:
    """Read what a finished run came to.

    Raises:
        DataError: If there is nothing, or it is not well formed.
    """
    return read_object(folder / RESULTS, "it is cut off, or no result of a run; run it again")
