"""Tables of configurations, read from the declarations in the sources (nodes need ROS, learners torch)."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

from memristor_bdnn import skills
from sitebuild.links import ROOT

PACKAGE = ROOT / "memristor_bdnn"
TITLES = (
    ("nodes", "Nodes", "Parameters by their own names; `ros2 param describe` prints the same."),
    ("skills", "Skills", "`world.NAME` of the world node, `planner.NAME` of the planner, `skill.NAME` in `--config`."),
    ("active", "The loop", "`loop.NAME` of the coordinator, section `loop` in `--config`."),
    ("learners", "Learners", "`LEARNER.NAME` of the accelerator node, `--learner-option NAME=VALUE`."),
    ("network", "Ex situ training", "Nested in a learner's options: `ex_situ.NAME`."),
    ("accelerator", "Accelerators", "By their own names at the accelerator node, `--accelerator-option NAME=VALUE`."),
    ("device", "Device presets", "Fields of a preset's YAML file ([devices](../devices.md#presets))."),
    ("crossbar", "Periphery", "Field `periphery` of a preset."),
    ("motion", "Arms and motion", "An arm's YAML file, `port.NAME` of a lab's world node."),
    ("agents", "Agents", "`rl train --agent-option NAME=VALUE`."),
    ("emulator", "The emulated board", "Flags of `escim-emulator`."),
)


@dataclass
class Option:
    """One field as its declaration says it."""

    name: str
    kind: str
    default: str
    text: str
    allowed: str
    counts: str


@dataclass
class Section:
    """One configuration dataclass."""

    name: str
    module: str
    text: str
    bases: list[str]
    options: list[Option]


def _shown(node: ast.expr | None, constants: dict[str, ast.expr] | None = None) -> str:
    """A value as a person writes it; an expression of the source where it is neither a literal nor a constant of it."""
    if node is None:
        return ""
    if isinstance(node, ast.Name):
        node = (constants or {}).get(node.id, node)
    if ast.unparse(node) == "skills.DEFAULT":
        return repr(skills.DEFAULT)
    try:
        value = ast.literal_eval(node)
    except ValueError:
        return ast.unparse(node)
    return repr(value) if not isinstance(value, bool) else str(value).lower()


def _text(node: ast.expr | None) -> str:
    """A description; constants that an f-string puts in are shown by name."""
    if isinstance(node, ast.JoinedStr):
        parts = [p.value if isinstance(p, ast.Constant) else ast.unparse(p)[3:-2] for p in node.values]
        return "".join(str(part) for part in parts)
    if isinstance(node, ast.BinOp):
        return _text(node.left) + _text(node.right)
    return str(node.value) if isinstance(node, ast.Constant) else ""


def _option(field: ast.AnnAssign, constants: dict[str, ast.expr]) -> Option | None:
    """The option that a field declares, or None."""
    call = field.value
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "option"):
        return None
    if not isinstance(field.target, ast.Name):
        return None
    given = dict(zip(("default", "doc"), call.args, strict=False)) | {k.arg: k.value for k in call.keywords if k.arg}
    low, high, unit = (_shown(given.get(key), constants) for key in ("low", "high", "unit"))
    allowed = f"{low or '...'} to {high or '...'}" if low or high else ""
    choices = given.get("choices")
    if isinstance(choices, ast.Name):
        choices = constants.get(choices.id, choices)
    if isinstance(choices, ast.Tuple | ast.List):
        allowed = ", ".join(_shown(choice, constants) for choice in choices.elts)
    elif choices is not None:
        allowed = "a name (`memristor-bdnn info`)"
    unit = unit.strip("'")
    counts = {"live": "at once", "start": "at start only"}.get(_shown(given.get("changes")).strip("'"), "after cleanup")
    source = _text(given.get("source"))
    text = _text(given.get("doc")) + (f" [{source}]" if source else "")
    return Option(
        field.target.id,
        ast.unparse(field.annotation),
        _shown(given.get("default"), constants),
        text,
        f"{allowed} {unit}".strip(),
        counts,
    )


def sections() -> list[Section]:
    """Every class of the package that declares options, in the order of the files."""
    found: list[Section] = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if "templates" in path.parts or "option(" not in path.read_text():
            continue
        body = ast.parse(path.read_text()).body
        constants = _constants(body)
        for node in body:
            if not isinstance(node, ast.ClassDef):
                continue
            fields = [field for field in node.body if isinstance(field, ast.AnnAssign)]
            options = [option for field in fields if (option := _option(field, constants))]
            if options:
                text = (ast.get_docstring(node) or "").split("\n\n")[0]
                bases = [base.id for base in node.bases if isinstance(base, ast.Name)]
                found.append(Section(node.name, _module(path), " ".join(text.split()), bases, options))
    return found


def _constants(body: list[ast.stmt]) -> dict[str, ast.expr]:
    """Names that a module gives to values, also several at once."""
    found: dict[str, ast.expr] = {}
    for node in body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            found[node.target.id] = node.value
        for target in node.targets if isinstance(node, ast.Assign) else ():
            if isinstance(target, ast.Name):
                found[target.id] = node.value
            elif isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs = zip(target.elts, node.value.elts, strict=True)
                found |= {name.id: value for name, value in pairs if isinstance(name, ast.Name)}
    return found


def _module(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").as_posix().replace("/", ".")


def _cell(text: str) -> str:
    parts = text.replace("``", "`").replace("|", "\\|").split("`")
    return "`".join(p if k % 2 else p.replace("<", "&lt;").replace("*", "\\*") for k, p in enumerate(parts))


def _code(text: str) -> str:
    return f"`{text}`" if text and text != "''" else "empty" if text else "required"


def pages() -> dict[str, str]:
    """One page, a table a configuration."""
    found = {section.name: section for section in sections()}
    text = [
        "# Options and parameters\n",
        "Every option has a type, a range and a description; a value that is not allowed is refused with all three. "
        "A running node takes a new value after cleanup unless it says *at once* or *at start only* "
        "([the architecture](../architecture.md#nodes)). A source in brackets says where a default comes from.\n",
    ]
    for room, title, where in TITLES:
        own = [section for section in found.values() if section.module.split(".")[0] == room]
        if not own:
            continue
        text += [f"## {title}\n", f"{where}\n"]
        for section in own:
            more = [base for base in section.bases if base in found]
            text.append(f"### {section.name}\n")
            text.append(f"`memristor_bdnn.{section.module}`. {_cell(section.text)}\n")
            if more:
                text.append(f"Also those of {', '.join(f'[{b}](#{b.lower()})' for b in more)}.\n")
            text.append("| option | default | allowed | what |\n|---|---|---|---|")
            for o in section.options:
                kind = o.kind.replace(" | None", "")
                counts = f" *{o.counts}*" if room == "nodes" and o.counts != "after cleanup" else ""
                allowed = _cell(f"{kind}, {o.allowed}" if o.allowed else kind)
                text.append(f"| `{o.name}` | {_code(o.default)} | {allowed} | {_cell(o.text)}{counts} |")
            text.append("")
    return {"parameters.md": "\n".join(text)}
