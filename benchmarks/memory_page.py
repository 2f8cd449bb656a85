"""Put what `unroll_memory.py` measured into docs/memory.md.

python benchmarks/memory_page.py unroll_memory.json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks.generated import filled

PAGE = Path(__file__).resolve().parents[1] / "docs" / "memory.md"


def measured(found):
    """Return the table of peaks and times, and what it says about the longest solve."""
    unit = found["table"]["30"]["Record"]["peak"]
    head = ["| T | | peak, MB | over 30 recorded steps | time over `Record` | difference from `Record` |"]
    rows = [row(steps, name, cell, unit) for steps, cells in found["table"].items() for name, cell in cells.items()]
    bounds, grown = found["bounds"], {name: size / 1e6 for name, size in found["process"].items()}
    recorded, thousand, again = (f"{grown[name]:,.0f} MB" for name in ("Record 30", "Record 1000", "Recompute 1000"))
    text = (
        f"A thousand recomputed steps thus take {bounds['memory']:.2f} times the memory of thirty recorded ones, and "
        f"{bounds['time']:.2f} times the\ntime of a thousand recorded ones. With all that the allocator holds, a "
        f"process grew by {recorded} for\nthirty recorded steps, by {thousand} for a thousand, and by {again} for a "
        "thousand recomputed ones."
    )
    return "\n".join([*head, "|---|---|---|---|---|---|", *rows, "", text])


def row(steps, name, cell, unit):
    rule = name if "=" in name else f"{name}()"
    spread = "1" if name == "Record" else f"{cell['ratio']:.2f} ({cell['low']:.2f} to {cell['high']:.2f})"
    difference = f"{cell['difference']:.0e}" if cell["difference"] else "0"
    figures = f"{cell['peak'] / 1e6:,.0f} | {cell['peak'] / unit:.2f} | {spread} | {difference}"
    return f"| {int(steps):,} | `{rule}` | {figures} |"


def reversal(found):
    """Return the table of what is lost by running SGD with momentum backwards."""
    lengths = " | ".join(f"{int(steps):,}" for steps in found["reversal"])
    errors = " | ".join(f"{error:.0e}" for error in found["reversal"].values())
    return f"| T | {lengths} |\n|---|{'---|' * len(found['reversal'])}\n| off by | {errors} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="what unroll_memory.py wrote")
    found = json.loads(parser.parse_args().file.read_text())
    page = filled(PAGE.read_text(), "measured", measured(found))
    PAGE.write_text(filled(page, "reversal", reversal(found)))


if __name__ == "__main__":
    main()
