"""What the documentation needs beyond Sphinx: ``cron-settings`` and crontabs as code blocks."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from pyramid_cron.settings import SETTINGS, Setting


class CronSettings(SphinxDirective):
    """A table of all settings, made of what the code knows about them."""

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        lines = [".. list-table::", "   :header-rows: 1", "   :widths: 22 22 56", ""]
        lines += _row("Setting", "Default", "Meaning")
        for setting in SETTINGS:
            lines += _row(f"``{setting.name}``", _default(setting), _meaning(setting))
        container = nodes.Element()
        self.state.nested_parse(StringList(lines, source=__file__), 0, container)
        return list(container.children)


def _row(first: str, *others: str) -> list[str]:
    return [f"   * - {first}", *(f"     - {cell}" for cell in others)]


def _default(setting: Setting) -> str:
    if setting.find_default:
        return setting.default
    return f"``{setting.default}``" if setting.default else "none"


def _meaning(setting: Setting) -> str:
    meaning, expected = _escaped(setting.meaning), _escaped(setting.expected)
    return f"{meaning[0].upper()}{meaning[1:]}. Takes {expected}."


def _escaped(text: str) -> str:
    """Return text for reStructuredText; URLs in it are examples, and no links."""
    return re.sub(r"\b\w+://[^\s,]*", r"``\g<0>``", text.replace("*", r"\*").replace("_", r"\_"))


def setup(app: Sphinx) -> dict[str, Any]:
    """Tell Sphinx of both."""
    app.add_lexer("crontab", TextLexer)
    app.add_directive("cron-settings", CronSettings)
    return {"parallel_read_safe": True}
