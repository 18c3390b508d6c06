"""Runs a notebook's code cells in order and keeps what they print and draw, without Jupyter.

python docs/notebooks/execute.py own_device.ipynb [--out FILE]     default: the notebook itself, beside this script

The values of last expressions are not shown: the notebooks print. A cell that fails ends it, and nothing is written.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import io
import json
import os
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

HERE = Path(__file__).parent


def execute(notebook: dict[str, Any]) -> dict[str, Any]:
    """The notebook with fresh outputs; relative paths start at this folder, as in Jupyter."""
    space: dict[str, Any] = {"__name__": "__main__"}
    cells, count = [], 0
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            count += 1
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile("".join(cell["source"]), f"cell {count}", "exec"), space)
            outputs = [_stream(printed.getvalue())] if printed.getvalue() else []
            cell = {**cell, "execution_count": count, "outputs": outputs + _figures()}
        cells.append(cell)
    return {**notebook, "cells": cells}


def _stream(text: str) -> dict[str, Any]:
    return {"name": "stdout", "output_type": "stream", "text": text.splitlines(keepends=True)}


def _figures() -> list[dict[str, Any]]:
    """Every open figure as a PNG; closes them."""
    found = []
    for number in plt.get_fignums():
        picture = io.BytesIO()
        plt.figure(number).savefig(picture, format="png", dpi=70, metadata={"Software": None})
        data = {"image/png": base64.b64encode(picture.getvalue()).decode(), "text/plain": ["<Figure>"]}
        found.append({"data": data, "metadata": {}, "output_type": "display_data"})
    plt.close("all")
    return found


def main() -> None:
    """Execute one notebook."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("notebook", help="a file beside this script")
    parser.add_argument("--out", type=Path, help="where the executed notebook goes")
    args = parser.parse_args()
    out = (args.out or HERE / args.notebook).resolve()
    os.chdir(HERE)
    done = execute(json.loads(Path(args.notebook).read_text()))
    out.write_text(json.dumps(done, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
