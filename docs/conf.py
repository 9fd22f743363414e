"""How Sphinx builds this documentation."""

import sys
from pathlib import Path

from pyramid_cron import __version__

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "pyramid_cron"
author = "The pyramid_cron developers"
copyright = author  # noqa: A001
version = release = __version__

extensions = ["sphinx.ext.autodoc", "cron_docs", "cron_http"]
exclude_patterns = ["_build"]
default_role = "any"
highlight_language = "python"

# Types stay in the signatures as they are written; where a description needs one, it says so.
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "exclude-members": "__init__"}

# Documented elsewhere; looking it up there would make a build depend on the network.
nitpick_ignore_regex = [
    ("py:.*", r"(pyramid|datetime|logging|transaction|zope|webtest|sqlalchemy)\..*"),
]

html_theme = "furo"
html_title = f"pyramid_cron {release}"
html_static_path = ["_static"]
html_show_sourcelink = False
html_copy_source = False
