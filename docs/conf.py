"""Configuration of the documentation; `make docs` builds the site."""

from hipsgen import __version__

project = "hipsgen"
author = "The hipsgen developers"
project_copyright = f"{author}, BSD-3-Clause"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "numpydoc", "sphinx_click", "sphinx_copybutton"]
exclude_patterns = ["_build"]
# help texts and docstrings: options keep their two dashes, and `single` backquotes mean code
smartquotes = False
default_role = "code"
python_maximum_signature_line_length = 88
myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"hipsgen {version}"
html_static_path = ["_static"]
html_css_files = ["hipsgen.css"]
html_copy_source = False

copybutton_prompt_text = "$ "
copybutton_only_copy_prompt_lines = True

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

# the build needs no network; `-t online` adds links into the documentation of other projects
if tags.has("online"):  # noqa: F821 - Sphinx defines it
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3/", None),
        "numpy": ("https://numpy.org/doc/stable/", None),
        "astropy": ("https://docs.astropy.org/en/stable/", None),
        "mocpy": ("https://cds-astro.github.io/mocpy/", None),
    }
else:
    nitpick_ignore_regex = [
        ("py:.*", r"(numpy|np|npt|astropy|mocpy|pathlib|collections|typing|os)\..*"),
        ("py:.*", r"Any|str|int|float|bool|bytes|tuple|list|dict|None|object|NDArray.*"),
        ("py:.*", r"MOC|SkyCoord|Quantity|Q?Table|CCDData"),
        # builtin exceptions that ours derive from
        ("py:class", r"(Value|Lookup|OS|Runtime|Import)Error|Exception"),
    ]
