"""The path below which clients find the server, behind a reverse proxy or inside of another application.

    /qa/v1/answer  as a proxy passes it on, or cuts it to /v1/answer  ->  root path /qa, endpoint /v1/answer

Left out: headers of proxies, such as X-Forwarded-Prefix, which any client can send.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from qa_onnx.errors import InputError, quoted

if TYPE_CHECKING:
    from starlette.types import Scope

_ROOT = re.compile(r"(/[A-Za-z0-9_~.-]+)+/?")
# Paths that endpoints begin with: where a proxy has cut such a root off, an endpoint would look as if it had not.
_OWN = re.compile(
    r"/(docs|metrics|openapi\.json|(v2/)?health(/(live|ready))?|v2(/models(/.*)?)?"
    r"|v1(/(answer|bundle|documents|scores))?)"
)


def checked_root(root: str) -> str:
    """Return a root path without a slash at its end; "" and "/" are none.

    Raises:
        InputError: it is no path, or an endpoint begins with it.
    """
    if root in {"", "/"}:
        return ""
    if not _ROOT.fullmatch(root) or {".", ".."} & set(root.split("/")):
        raise InputError(
            f"root_path is {quoted(root)}; it must be a path such as /qa: letters, digits and _ ~ . - after each /"
        )
    root = root.removesuffix("/")
    if _OWN.fullmatch(root):
        raise InputError(
            f"root_path is {quoted(root)}, which is a path of the server's own",
            remedy=f"choose another one, such as /qa{root}",
        )
    return root


def below_root(scope: Scope, configured: str) -> tuple[Scope, str]:
    """Split the path of a request at the root path.

    Args:
        scope: of a request; what mounted this application has put its root path there.
        configured: the root path where the scope has none.

    Returns:
        A scope as routers expect it, whose path begins with its root path; and the path of the endpoint, which is
        empty where the client asked for the root path itself.
    """
    root, path = scope.get("root_path") or configured, scope["path"]
    if not root:
        return scope, path
    inner = path[len(root) :] if path == root or path.startswith(f"{root}/") else path
    return {**scope, "root_path": root, "path": root + inner}, inner
