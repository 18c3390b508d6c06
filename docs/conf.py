"""The site: `make docs` builds it from this folder into build/docs.

Nothing of ROS or torch is imported: the command line's parsers are light, parameters and interfaces are read from the
sources, and the Python API is read by sphinx-autoapi.
"""

from __future__ import annotations

import sys
from pathlib import Path

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path[:0] = [str(ROOT), str(DOCS)]

from sitebuild import api  # noqa: E402

from memristor_bdnn import __version__  # noqa: E402

project = "memristor_bdnn"
author = "memristor_bdnn maintainers"
release = version = __version__
html_title = f"memristor_bdnn {release}"

extensions = ["myst_parser", "sphinx.ext.napoleon", "autoapi.extension", "sitebuild"]
exclude_patterns = ["figures", "notebooks", "sitebuild", "static"]
html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
pygments_style = "friendly"

# The same anchors as a repository host makes of headings, so that one link works in both places.
myst_heading_anchors = 4
# Output of programs and shell lines stand in blocks without a language.
highlight_language = "text"

autoapi_dirs = [str(ROOT / "memristor_bdnn")]
autoapi_root = "generated/api"
autoapi_ignore = api.ignored()
autoapi_options = ["members", "show-module-summary"]
autoapi_add_toctree_entry = False
autoapi_keep_files = False
autoapi_member_order = "bysource"
autoapi_python_class_content = "class"
# Values that are given several to a line, generated modules, and names that two classes have.
suppress_warnings = ["autoapi.python_import_resolution", "ref.python"]
