"""Write what ``all.py`` has kept into the documentation: tables, charts, where they come from."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from charts import chart, described
from figures import Table, loaded
from summary import inserted

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs"
DRAWN = DOCS / "figures"
WRITTEN = DRAWN / "all.rst"
README = HERE.parent / "README.rst"

Result = dict[str, Any]


def publish(results: list[tuple[str, Result]]) -> None:
    """Write the figures of all results, each under its title, and the README's short table."""
    DRAWN.mkdir(exist_ok=True)
    for old in DRAWN.iterdir():
        old.unlink()
    sections = ["\n".join(section(title, result)) for title, result in results]
    WRITTEN.write_text("\n".join([".. Written by benchmarks/all.py.", "", *sections]))
    by_name = {result["benchmark"]: result for _, result in results}
    README.write_text(inserted(README.read_text(), by_name))


def section(title: str, result: Result) -> list[str]:
    """Return the lines about one benchmark."""
    name = result["benchmark"]
    lines = [title, "-" * len(title), "", *about(name), *circumstances(result)]
    tables = [loaded(each) for each in result["tables"]]
    for number, table in enumerate(tables, 1):
        lines += table_lines(table)
        if svg := chart(table):
            (DRAWN / f"{name}-{number}.svg").write_text(svg)
            lines += [f".. image:: figures/{name}-{number}.svg", f"   :alt: {described(table)}", ""]
    if not tables:
        lines += [".. code-block:: text", ""]
        lines += [f"   {line}".rstrip() for line in result["output"].splitlines()]
        lines.append("")
    return lines


def about(name: str) -> list[str]:
    """Return what the benchmark says of itself, but for how it is called."""
    docstring = ast.get_docstring(ast.parse((HERE / f"{name}.py").read_text())) or ""
    told = [part for part in docstring.split("\n\n") if not part.lstrip().startswith("python ")]
    return [*"\n\n".join(told).splitlines(), ""]


def circumstances(result: Result) -> list[str]:
    """Return with what, where and when it was measured."""
    machine = result["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    facts = (
        ("Command", f"``{result['command']}``"),
        (
            "Machine",
            f"{machine['processor']}, {machine['cores']} cores, {machine['memory']};"
            f" {machine['system']}",
        ),
        ("Versions", f"Python {result['python']}, {versions}"),
        ("Measured", f"{result['date']}, revision {result['revision']}"),
    )
    return [*(f":{name}: {text}" for name, text in facts), ""]


def table_lines(table: Table) -> list[str]:
    """Return a table, and where a peer is ahead in it."""
    lines = [f".. list-table:: {table.title}".rstrip(), "   :header-rows: 1", ""]
    for row in table.cells():
        lines += [f"   {'*' if not number else ' '} - {cell}" for number, cell in enumerate(row)]
    lines.append("")
    if ahead := table.ahead():
        lines += ["Ahead of ours:", ""]
        lines += [f"* by *{name}*: {'; '.join(those)}." for name, those in ahead.items()]
        lines.append("")
    return lines
