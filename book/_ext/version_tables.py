"""The directives `{versions-table}` and `{product-facts}`: versions and facts, with their links."""

from cost_tables import link, words
from course_status import table
from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from churnlab import facts
from churnlab.errors import CourseError


class VersionDirective(SphinxDirective):
    """A directive that depends on the facts file, and fails with its problem and mend."""

    def run(self):
        """The nodes of the directive."""
        self.env.note_dependency(str(facts.FACTS))
        try:
            return self.content_nodes(facts.load_facts(facts.FACTS))
        except CourseError as error:
            raise self.error(str(error)) from error


class VersionTable(VersionDirective):
    """Products, the version that the course uses, and the end of its support."""

    def content_nodes(self, loaded):
        """The table."""
        rows = [
            [
                product.name,
                nodes.literal(text=product.version),
                str(product.end_of_support or "not published"),
                link(product.citation),
            ]
            for product in loaded.products.values()
        ]
        head = ["Product", "Version", "Supported until", "Read"]
        return [table(head, rows, widths=[40, 28, 18, 14])]


class ProductFacts(VersionDirective):
    """Sentences about products that the course relies on, each with its link."""

    def content_nodes(self, loaded):
        """A list."""
        items = nodes.bullet_list()
        for fact in loaded.facts.values():
            items += nodes.list_item("", words(f"{fact.says} (read ", link(fact.citation), ")"))
        return [items]


def setup(app):
    """Register the extension with Sphinx."""
    app.add_directive("versions-table", VersionTable)
    app.add_directive("product-facts", ProductFacts)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
