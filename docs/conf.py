"""Configuration of Sphinx."""

import sys
from pathlib import Path

import fedsiege

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "FedSiege"
author = "the FedSiege contributors"
copyright = f"2026, {author}"
release = version = fedsiege.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "plugins"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"FedSiege {release}"
html_static_path = ["_static"] if (Path(__file__).parent / "_static").is_dir() else []

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_google_docstring = False
napoleon_use_rtype = False

# Names in types, such as `shape`, are words and no references; several classes have an attribute of that name.
suppress_warnings = ["ref.python"]


def _keep_bars(app, what, name, obj, options, lines):
    """Escape bars: in our docstrings |x| is a magnitude, in reStructuredText a substitution."""
    lines[:] = [line if "``" in line else line.replace("|", "\\|") for line in lines]


def setup(app):
    app.connect("autodoc-process-docstring", _keep_bars)
