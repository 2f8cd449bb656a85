"""How each command of the pages is run by a test: made small where it is big, or by a test that is named here.

The first way whose pattern fits a command is its way. A command without a way, and a way that fits no command, fail.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

SEARCH = "--epochs 1 --supernet.nodes 1 --supernet.channels 4 --supernet.layers 3 --gradient.rule first --device cpu"
SEARCH += " --supernet.primitives none skip_connect sep_conv_3x3"
RETRAIN = "--epochs 1 --channels 2 --layers 3 --seeds 0 --device cpu"


@dataclass(frozen=True)
class Way:
    """How the commands that fit a pattern are run.

    Attributes:
        pattern: Fits the whole of a command, without comment.
        why: Why it is not run as it stands, or why it is.
        more: Words behind it that make it small.
        less: A word of it that is left out.
        tests: Tests that run what this one does not, as FILE::TEST; with `here` off, all of it.
        here: Whether it is run here as well.
    """

    pattern: str
    why: str
    more: str = ""
    less: str = ""
    tests: tuple[str, ...] = ()
    here: bool = True

    def fits(self, text: str) -> bool:
        """Tell whether this is a way of a command."""
        return re.fullmatch(self.pattern, text) is not None


SLURM = ("tests/nas/test_launch_slurm.py::test_a_sweep_whose_program_died_is_waited_for",)
SUBMITIT = ("tests/nas/test_launch_submitit.py::test_the_same_sweep",)
IN_CI = "tests/test_packaging.py::test_continuous_integration_runs_make_test"
FULL = "a GPU for days: one epoch of the smallest network, on a few images in the published layout"
MINUTES = "minutes: one epoch of the smallest network"

WAYS = (
    Way(r"mlo-nas --help", "small as it stands"),
    Way(r"mlo-nas (zoo|spaces|draw|report|evaluate)( .*)?", "small as it stands"),
    Way(r"mlo-nas (search|retrain) --resume \S+", "small, as what it goes on with was made small and stopped"),
    Way(r"mlo-nas sweep --resume \S+", "the same: the points that are missing are those of a small sweep"),
    Way(r"mlo-nas search digits --epoch .*|mlo-nas search .* 90000", "refused, which is what the page shows"),
    Way(r"mlo-nas search \S+( \S+)* --dry-run.*", "seconds, for the networks that it plans", more=SEARCH),
    Way(
        r"mlo-nas search \S+ data:folders .*--data.lazy.*",
        "few images, which one process decodes",
        more=SEARCH + " --batch 8 --data.workers 1",
    ),
    Way(r"mlo-nas search (\S+ data:)?folders .*", "few images", more=SEARCH + " --batch 8"),
    Way(r"mlo-nas search digits( .*)?", MINUTES, more=SEARCH + " --batch 80"),
    Way(
        r"mlo-nas search \S+-imagenet-\S+( .*)?",
        FULL,
        more=SEARCH + " --batch 2 --data.root imagenet --data.side 32 --data.workers 0",
    ),
    Way(r"mlo-nas search (darts|pdarts|pcdarts)\S*( .*)?", FULL, more=SEARCH + " --batch 30"),
    Way(r"mlo-nas retrain (digits|folders)( .*)?", MINUTES, more=RETRAIN + " --batch 100"),
    Way(
        r"mlo-nas retrain cifar --cell torchvision.*",
        FULL,
        more="--epochs 1 --batch 10 --data.subset 10 --seeds 0 --device cpu",
    ),
    Way(r"mlo-nas retrain cifar( .*)?", FULL, more=RETRAIN + " --batch 80 --no-auxiliary"),
    Way(
        r"mlo-nas retrain imagenet( .*)?",
        FULL,
        more=RETRAIN + " --batch 16 --no-auxiliary --data.side 32 --data.workers 0 --schedule.tail 0"
        " --schedule.warm-up-epochs 1 --epochs 2",
    ),
    Way(
        r"mlo-nas sweep .*launcher:slurm.*",
        "needs a cluster: here as far as the words go; as a whole on a Slurm that is played",
        more="--dry-run",
        tests=SLURM,
    ),
    Way(
        r"mlo-nas sweep .*launcher:submitit-local.*",
        "starts processes that outlive it: here as far as the words go",
        more="--dry-run",
        tests=SUBMITIT,
    ),
    Way(
        r"mlo-nas sweep evidence-.* --reuse \S+",
        "what it takes from has hours of searches in it",
        tests=(
            "tests/nas/test_reuse.py::test_what_has_the_same_settings_is_copied_and_the_rest_is_run",
            "tests/nas/test_reuse.py::test_a_dry_run_tells_what_would_be_taken",
        ),
        here=False,
    ),
    Way(
        r"mlo-nas sweep evidence-.*",
        "hours: here as far as the words go; as a whole with searches that are made up",
        more="--dry-run",
        tests=("tests/nas/test_study_run.py::test_the_table_of_all_parts",),
    ),
    Way(
        r"mlo-nas sweep digits .*--retrain digits.*",
        "hours: the first two values of the first field, one of the others, small",
        more=f"{SEARCH} --batch 80 --retrain.epochs 1 --retrain.channels 2 --retrain.batch 100 --retrain.seeds 0",
    ),
    Way(
        r"mlo-nas sweep digits .*", "hours: the first two values, one of the others, small", more=SEARCH + " --batch 80"
    ),
    Way(
        r"mlo-nas demo",
        "minutes: the smallest networks, in this process",
        more=" ".join(f"--search.{word[2:]}" if word.startswith("--") else word for word in SEARCH.split())
        + " --search.batch 80 --retrain.epochs 1 --retrain.channels 2 --retrain.batch 100 --retrain.seeds 0",
        tests=("tests/nas/test_jobs.py::test_results_are_in_order_and_progress_is_shown",),
    ),
    Way(
        r"torchrun .* train\.py",
        "the program that the page prints",
        tests=(
            "tests/parallel/test_torchrun.py::test_the_program_of_the_guide_prints_the_same_on_any_number_of_ranks",
        ),
        here=False,
    ),
    Way(
        r"torchrun .*applications\.nas (search|retrain) .*|torchrun .* mlo-nas .*",
        "made small as without it; torchrun's own parser reads its words; the ranks are copies of the test's process",
        tests=("tests/nas/test_resume_ranks.py::test_torchrun_starts_them_again_and_all_are_stopped",),
    ),
    Way(
        r"python -m examples\.figures",
        "a minute: a test runs each script as it does, and another puts what was printed into a page",
        tests=(
            "tests/test_gallery.py::test_the_example_holds_its_claim_and_its_page_shows_it",
            "tests/test_gallery.py::test_the_page_is_renewed",
        ),
        here=False,
    ),
    Way(r"(MLO_\w+=\S+ )?python -m pytest( \S+)+", "the suite runs these files itself", here=False),
    Way(r"python benchmarks/floor\.py --where .*", "seconds", more="--size small"),
    Way(
        r"python benchmarks/whole_step\.py( --all)?",
        "a quarter of an hour: one case in one form, once, with a cell of one node",
        more="--rounds 1 --cases 'DARTS-2nd, small' --forms batched",
        less="--all",
    ),
    Way(r"python benchmarks/peer_defects\.py --peers \.peers", "minutes: one row", more="--only U4"),
    Way(r"make \w+", "makes an environment first: the recipe is asked for, and its own command is run by another test"),
    Way(r"\. \.venv/bin/activate|export \w+=\w+", "small as it stands, in a shell and an environment of its own"),
    Way(r"ruff (check|format --check)( \S+)?", "small as it stands"),
    Way(r"mypy", "half a minute: part of every `make test`", tests=(IN_CI,), here=False),
    Way(r"python -c .*", "small as it stands, in this process"),
    Way(
        r"pip (install|wheel) .*\.('?|\[\S+\]')",
        "needs a network: without what it depends on, a test installs in this way",
        tests=("tests/test_wheel.py::test_the_library_works_from_the_wheel",),
        here=False,
    ),
    Way(
        r"pip install .*--target \.peers .*",
        "needs a network: packages of those names, made on the spot, are installed",
    ),
)
"""Every way."""

RECIPES = {
    "demo": ("mlo-nas demo", "tests/nas/test_demo.py::test_the_demo"),
    "test": ("python -m pytest -n 2", IN_CI),
    "lint": ("mypy", IN_CI),
    "docs": ("mkdocs build --strict", "tests/test_site.py::test_the_site"),
    "fuzz": ("python -m pytest -n 0 --timeout=0 tests/fuzz", "tests/fuzz/test_whole_runs.py"),
    "bench": ("python -m benchmarks.bench", "tests/test_bench.py::test_new_figures_are_kept_on_request_alone"),
}
"""What the recipe of a target of make ends with, and the test that runs that; `make` is asked for the recipe here."""
