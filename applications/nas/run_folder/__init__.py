"""The folder of a run: what is in it, and how it is written and read."""

from applications.nas.files import write_bytes, write_json, write_text
from applications.nas.run_folder.environment import environment
from applications.nas.run_folder.folder import (
    CONFIG,
    DATA,
    ENVIRONMENT,
    FAILURE,
    GENOTYPE,
    RESULTS,
    SPLITS,
    new_folder,
    write_config,
)
from applications.nas.run_folder.history import GENOTYPES, History, Snapshot, count_skips, read_history
from applications.nas.run_folder.log import RunLog
from applications.nas.run_folder.metrics import METRICS, MetricsFile, read_metrics
from applications.nas.run_folder.reading import read_genotype, read_results, read_search_settings

__all__ = [
    "CONFIG",
    "DATA",
    "ENVIRONMENT",
    "FAILURE",
    "GENOTYPE",
    "GENOTYPES",
    "METRICS",
    "RESULTS",
    "SPLITS",
    "History",
    "MetricsFile",
    "RunLog",
    "Snapshot",
    "count_skips",
    "environment",
    "new_folder",
    "read_genotype",
    "read_history",
    "read_metrics",
    "read_results",
    "read_search_settings",
    "write_bytes",
    "write_config",
    "write_json",
    "write_text",
]
