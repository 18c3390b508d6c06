"""The house holds: who imports whom (contracts in pyproject.toml), and rooms that name no skill."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from memristor_bdnn import skills

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "memristor_bdnn"


def test_contracts_hold() -> None:
    pytest.importorskip("importlinter", reason="import-linter is not installed: pip install import-linter")
    done = subprocess.run(
        [str(Path(sys.prefix) / "bin" / "lint-imports"), "--no-cache"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


@pytest.mark.parametrize("room", ["nodes", "commands", "report", "active", "learners", "acquisitions"])
def test_rooms_above_and_beside_the_skills_name_none(room: str) -> None:
    named = re.compile(rf"\b({'|'.join(skills.BUILT_IN)}|pours?|poured|bowls?|cups?|beads?)\b", re.IGNORECASE)
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in sorted((PACKAGE / room).rglob("*.py"))
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if named.search(line)
    ]
    assert not found, "\n".join(found)


def test_a_skill_is_loaded_without_a_simulator() -> None:
    """An accelerator host needs a skill's names and recipes, and may have no PyBullet."""
    heavy = "pybullet", "torch", "matplotlib", "rclpy"
    code = (
        "import sys\nfrom memristor_bdnn import skills\n"
        "for name in skills.names():\n    skills.load(name)\n"
        f"print([m for m in {heavy} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_no_attribute_of_a_node_hides_one_of_rclpys() -> None:
    """rclpy keeps its own state in attributes of the same object: hiding ``_context``, say, breaks its shutdown."""
    lifecycle = pytest.importorskip("rclpy.lifecycle.node", reason="rclpy is not installed")
    from rclpy import node

    theirs = {
        a for module in (lifecycle, node) for a in _attributes(ast.parse(inspect.getsource(module)), set_only=False)
    }
    found = []
    for path in sorted((PACKAGE / "nodes").glob("*.py")):
        for cls in ast.walk(ast.parse(path.read_text())):
            if isinstance(cls, ast.ClassDef) and any("Node" in ast.unparse(base) for base in cls.bases):
                found += [f"{path.name}: {cls.name}.{name}" for name in _attributes(cls, set_only=True) & theirs]
    assert not found, found


def _attributes(tree: ast.AST, set_only: bool) -> set[str]:
    """Names x of every ``self.x`` in a tree, or of those that are assigned to."""
    found = (
        n
        for n in ast.walk(tree)
        if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name) and n.value.id == "self"
    )
    return {n.attr for n in found if not set_only or isinstance(n.ctx, ast.Store)}
