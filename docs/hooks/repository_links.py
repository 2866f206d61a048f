"""Links of pages to files of the repository that are not pages of the site.

In the repository's view they lead to these files. On the site a link to another page of it stays one, a picture is
copied, and of anything else the site shows the path; with `repo_url` in mkdocs.yml it links to the file there.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from generated_pages import ROOT_PAGES
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import get_plugin_logger
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

LOG = get_plugin_logger("repository_links")
# Code, which is left as it is, or a link or picture: its text and its target.
CODE_OR_LINK = re.compile(
    r"^(?P<fence>```+).*?^(?P=fence)|`[^`\n]*`|(?P<mark>!?)\[(?P<text>(?:`[^`]*`|[^\]`])*)\]\((?P<target>[^)\s]+)\)",
    re.MULTILINE | re.DOTALL,
)
PICTURES = {".gif", ".png", ".svg"}


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Returns a page's Markdown with links as the site has them. mkdocs calls it for every page."""
    root = Path(config.config_file_path).parent
    pages = {**ROOT_PAGES, config.extra["recipes"]: "recipes.md"}
    source = {uri: name for name, uri in ROOT_PAGES.items()}.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def replaced(match: re.Match[str]) -> str:
        target = match["target"]
        if target is None or target.startswith("#") or re.match(r"[a-z]+:", target):
            return match[0]
        path, hash_mark, anchor = target.partition("#")
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        of_site = path.removeprefix("docs/") if path.startswith("docs/") else pages.get(path)
        if of_site is None and not (root / path).exists():
            LOG.warning(f"'{source}' links to '{path}', which is neither a page nor a file of the repository.")
        if of_site is None and Path(path).suffix in PICTURES:
            of_site = f"repository/{path}"
            if of_site not in files.src_uris:
                files.append(File.generated(config, of_site, abs_src_path=str(root / path)))
        if of_site is not None:
            of_site = posixpath.relpath(of_site, posixpath.dirname(page.file.src_uri) or ".")
            return f"{match['mark']}[{match['text']}]({of_site}{hash_mark}{anchor})"
        if config.repo_url:
            return f"[{match['text']}]({config.repo_url.rstrip('/')}/blob/HEAD/{path}{hash_mark}{anchor})"
        shown = f"`{path}`"
        return shown if match["text"].strip("`") == path else f"{match['text']} {shown}"

    return CODE_OR_LINK.sub(replaced, markdown)
