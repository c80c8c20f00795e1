"""Serves the page for people: one HTML file that loads nothing else, and may run its own script and style only."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib.resources import files

from fastapi import FastAPI
from starlette.responses import HTMLResponse

PAGE_PATH = "/"


def page_text() -> str:
    return files("scope_batch.serve").joinpath("page.html").read_text("utf-8")


def page_headers(page: str) -> dict[str, str]:
    """Return the headers of the page. Its policy names the hashes of its script and its style, and forbids the rest.

    The page shows texts of strangers: a script among them would neither run nor reach another server. The address may
    hold the token, so no other server is told it.
    """
    script, style = (_hash_of(page, tag) for tag in ("script", "style"))
    policy = {
        "default-src": "'none'",
        "script-src": script,
        "style-src": style,
        "img-src": "blob: data:",
        "media-src": "'self' blob:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    return {
        "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "no-cache",
    }


def answer_with_page(app: FastAPI) -> None:
    page = page_text()
    headers = page_headers(page)

    @app.head(PAGE_PATH, include_in_schema=False)
    @app.get(PAGE_PATH, include_in_schema=False)
    def show() -> HTMLResponse:
        return HTMLResponse(page, headers=headers)


def _hash_of(page: str, tag: str) -> str:
    """Return the hash of the text of the page's only element `tag`, as a policy writes it."""
    (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
