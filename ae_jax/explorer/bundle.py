"""Several JavaScript modules as one script: a page that is opened as a file can import no others."""

import re
from collections.abc import Callable

_IMPORT = re.compile(r'^import (\{[^}]*\}) from "\./(\w+\.js)";$', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|const) (\w+))", re.MULTILINE)


def bundle(entry: str, read: Callable[[str], str]) -> str:
    """The module `entry` and all that it imports, each in a scope of its own, after the modules that it imports.

    `read` maps the name of a module to its text. Imports must have the form `import { … } from "./name.js";`, and
    exports stand before a function or a constant.
    """
    modules: dict[str, str] = {}

    def add(name: str) -> None:
        text = read(name)
        for match in _IMPORT.finditer(text):
            if match[2] not in modules:
                add(match[2])
        modules[name] = _in_scope(name, text)

    add(entry)
    return "\n".join(["const modules = {};", *modules.values()])


def _in_scope(name: str, text: str) -> str:
    exported = ", ".join(match[1] for match in _EXPORT.finditer(text))
    body = _EXPORT.sub("", _IMPORT.sub(r'const \1 = modules["\2"];', text))
    return f'modules["{name}"] = (() => {{\n{body}return {{ {exported} }};\n}})();'
