"""The directive ``{plugins} attacks``: every registered plug-in of a kind, from its docstring."""

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from fedsiege import registry


class Plugins(SphinxDirective):
    """Documents the attacks, defenses or models in the order in which ``fedsiege list`` shows them."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        kind = self.arguments[0]
        lines = []
        for entry in registry.entries(kind).values():
            lines += [
                f"**`{entry.name}`**",
                "",
                "```{eval-rst}",
                f".. autoclass:: {entry.module}.{entry.cls}",
                "```",
                "",
            ]
        return self.parse_text_to_nodes("\n".join(lines))


def setup(app: Sphinx) -> dict:
    app.add_directive("plugins", Plugins)
    return {"parallel_read_safe": True}
