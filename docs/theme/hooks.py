"""What the pages, which are also read where the code is hosted, need to become a site."""

from __future__ import annotations

import ast
import html
import json
import os
import re
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

FIELDS = re.compile(r"<!-- fields of (\w+) in (\S+) -->")
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(((?:\.\./)+[^)#\s]+)\)")
FIGURE = re.compile(r'<img alt="([^"]*)" src="([^"]*?/figures/[^"]+\.svg)"[^>]*/?>')


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """A page for each notebook, with what it printed and drew."""
    for file in list(files):
        if file.src_uri.endswith(".ipynb"):
            notebook = json.loads(file.content_string)
            text = "\n\n".join(_cell(cell) for cell in notebook["cells"])
            name = PurePosixPath(file.src_uri).name
            text += f"\n\n[Download this notebook]({name}){{: download='{name}' }}\n"
            files.append(File.generated(config, file.src_uri.removesuffix(".ipynb") + ".md", content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links to files of the repository that are no part of the site become plain text, if there are such files."""
    if page.is_homepage:
        page.meta["hide"] = ["toc"]
    root = Path(config.config_file_path).parent
    here = Path(config.docs_dir) / PurePosixPath(page.file.src_uri).parent

    def kept(link: re.Match[str]) -> str:
        text, target = link[1], Path(os.path.normpath(here / link[2]))
        if target.is_relative_to(config.docs_dir):
            return link[0]
        if not target.is_relative_to(root) or not target.exists():
            raise PluginError(f"{page.file.src_uri}: the link to {link[2]} leads nowhere")
        return text if text.startswith("`") else f"{text} (`{target.relative_to(root)}`)"

    if page.file.generated_by is not None:
        return markdown
    told = FIELDS.sub(lambda wanted: _fields(root / wanted[2], wanted[1]), markdown)
    return LINK.sub(kept, told).replace(".ipynb)", ".md)")


def on_page_content(content: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Figures become part of the page, so that they change with its colours."""

    def drawn(image: re.Match[str]) -> str:
        name = PurePosixPath(image[2]).name
        svg = (Path(config.docs_dir) / "pictures" / "figures" / name).read_text()
        return svg.replace("<svg ", f'<svg role="img" aria-label="{image[1]}" ', 1)

    return FIGURE.sub(drawn, content)


def _fields(file: Path, name: str) -> str:
    """A class's docstring and its fields, with the comments beside them."""
    source = file.read_text()
    lines = source.splitlines()
    node = next(item for item in ast.parse(source).body if isinstance(item, ast.ClassDef) and item.name == name)
    fields = [item for item in node.body if isinstance(item, ast.AnnAssign)]
    code = "\n".join(line.strip() for item in fields for line in lines[item.lineno - 1 : item.end_lineno])
    return f"{ast.get_docstring(node) or ''}\n\n```python\n{code}\n```"


def _cell(cell: dict[str, Any]) -> str:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        return source
    return "\n\n".join([f"```python\n{source}\n```", *map(_output, cell["outputs"])])


def _output(output: dict[str, Any]) -> str:
    data = output.get("data", {})
    if "text/html" in data:
        return "".join(data["text/html"])
    if "image/png" in data:
        return f'<img alt="" src="data:image/png;base64,{"".join(data["image/png"]).strip()}">'
    text = "".join(output.get("text", data.get("text/plain", "")))
    return f'<pre class="output">{html.escape(text)}</pre>'
