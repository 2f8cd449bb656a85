"""The command `mlo-nas`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from rich.console import Console

from applications.nas import launch
from applications.nas.commands import demo, draw, evaluate, report, retrain, search, spaces, sweep, zoo
from applications.nas.methods.plugins import load_plugins
from applications.nas.presets import RETRAIN, SEARCH
from applications.nas.refusal import as_line, is_refusal
from applications.nas.stopping import Stopped, Terminated
from applications.nas.streams import LastingConsole, hush, tell
from mlo import ConfigError

USAGE = """\
mlo-nas: architecture search by multi-level optimization

  mlo-nas demo                        search, retrain and compare on digits, in minutes, without a download
  mlo-nas search PRESET [options]     search a cell; presets: {search}
  mlo-nas search PRESET --dry-run     what it would be: problem graph, schedule, cost, memory; nothing runs
  mlo-nas search --config FILE [..]   the same with the settings of an earlier run
  mlo-nas search --resume DIR         go on with a search that was stopped; under torchrun, on as many ranks
  mlo-nas retrain PRESET --run DIR    train a found cell from scratch and test it; presets: {retrain}
  mlo-nas retrain PRESET --cell NAME data:cifar   the same with a published cell, without a search
  mlo-nas retrain --resume DIR        go on with a retraining that was stopped; also under torchrun, on any ranks
  mlo-nas evaluate DIR                test the weights of a retraining again
  mlo-nas zoo [NAME]                  the published cells: sizes, sources, pictures
  mlo-nas spaces                      the operations and the search spaces
  mlo-nas sweep PRESET --vary ...     search at all combinations of values of any settings, retrain, compare, plot
  mlo-nas sweep STUDY [--scale SCALE] several sweeps that answer one question, such as evidence-table; cpu, gpu or paper
  mlo-nas report RUNS...              tables of what runs measured, beside published figures that are marked as quoted
  mlo-nas draw CELL [--out STEM]      draw a cell as SVG and PNG

`mlo-nas COMMAND --help` explains each option. Every option is a setting: what you leave out, the preset gives.
"""

SHARED = ("search", "retrain", "evaluate")
"""The commands that the processes of torchrun share."""

COMMANDS: dict[str, Callable[[list[str], Console], None]] = {
    "search": search.run,
    "retrain": retrain.run,
    "evaluate": evaluate.run,
    "zoo": zoo.run,
    "spaces": spaces.run,
    "sweep": sweep.run,
    "report": report.run,
    "draw": draw.run,
    "demo": demo.run,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: Words of the command line; None for those of the process.

    Returns:
        0 if it succeeded, 2 if the request or the data was at fault; then one line says what and what to do. 130 if
        Ctrl-C stopped it, 143 if SIGTERM did.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        sys.stdout.write(USAGE.format(search=", ".join(SEARCH), retrain=", ".join(RETRAIN)))
        return 0
    console = LastingConsole()
    try:
        if words[0] not in COMMANDS:
            raise ConfigError(f"no command is called {words[0]!r}; the commands are {', '.join(COMMANDS)}")
        if launch.under_torchrun() and words[0] not in SHARED:
            raise ConfigError(f"{words[0]}: this is for one process: start it without torchrun")
        load_plugins()
        COMMANDS[words[0]](words[1:], console)
    except Stopped as stop:
        if launch.first():  # all ranks stop at the same step, and one of them tells
            tell(f"{stop}\n")
        return stop.code
    except SystemExit as stop:  # help was printed
        return int(stop.code or 0)
    except KeyboardInterrupt as stop:
        tell("interrupted; what was measured until now is in the run folder\n")
        return 143 if isinstance(stop, Terminated) else 130
    except Exception as error:
        if isinstance(error, BrokenPipeError) and {"-h", "--help"}.intersection(words):  # read by `head`, say
            hush()
            return 0
        if not is_refusal(error):
            raise
        tell(f"{launch.prefix()}error: {as_line(error)}\n")
        return 2
    return 0
