"""Executes every notebook, from its top, and fails where a cell does; outputs are not kept.

A notebook with outputs in it fails too: they would be somebody's data, and stale tomorrow.
"""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """The exit code: 0 if every notebook ran."""
    failed = 0
    for file in sorted((ROOT / "notebooks").glob("*.ipynb")):
        notebook = nbformat.read(file, as_version=4)
        if any(cell.get("outputs") for cell in notebook.cells):
            print(f"{file.name}: has outputs; clear them before committing")
            failed = 1
        try:
            NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(file.parent)}}).execute()
            print(f"{file.name}: ran")
        except CellExecutionError as exc:
            print(f"{file.name}: {exc}")
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main())
