"""The directives of the costs page: `{forgotten-week}`, `{cost-tables}` and `{price-table}`.

All three are computed at the build, from the prices and the cost model, by churnlab's own code.
"""

from html import escape

from course_status import table
from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from churnlab import facts
from churnlab.cloud import costs
from churnlab.errors import CourseError

WIDTH, LEFT, BAR, STEP, TOP = 720, 190, 20, 34, 76  # of the picture, in its own pixels
ROOM = 200  # right of the longest bar, for its amount
MANY = 10.0  # USD: what a forgotten week should not cost
NUMBERS = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


class CostDirective(SphinxDirective):
    """A directive that depends on prices and cost model, and fails with their problem and mend."""

    def run(self):
        """The nodes of the directive."""
        for file in (facts.FACTS, costs.MODEL):
            self.env.note_dependency(str(file))
        try:
            return self.content_nodes(costs.load_prices(facts.FACTS, costs.MODEL))
        except CourseError as error:
            raise self.error(str(error)) from error


class CostTables(CostDirective):
    """A section per module: what it creates, and an hour, a run and a forgotten week of it."""

    def content_nodes(self, prices):
        """A section of each module."""
        return [self._section(module) for module in costs.module_costs(prices)]

    def _section(self, module):
        section = nodes.section(ids=[nodes.make_id(f"cost-{module.id}")], names=[module.id])
        section += nodes.title(text=module.title)
        if module.toggle:
            toggle = nodes.literal(text=module.toggle)
            section += words("Terraform creates it if ", toggle, " is true.")
        rows = [self._row(line) for line in module.lines]
        rows.append(["All of it", "", *map(str, (module.hour, module.run, module.week))])
        head = ["What, as assumed", "List price, read", "An hour", "A run", "A forgotten week"]
        section += table(head, rows, widths=[31, 27, 14, 14, 14])
        return section

    def _row(self, line):
        week = amount(line.week)
        if line.report:
            low, high = line.report.week
            others = link(line.report.citation, "others report")
            week = words(f"{week}; ", others, f" {low:.0f} to {high:.0f} USD", kind=nodes.inline)
        what = words(nodes.strong(text=line.what), f": {line.because}", kind=nodes.inline)
        cited = link(line.price.citation, line.price.rate)
        price = words(cited, f", {line.price.citation.accessed}", kind=nodes.inline)
        return [what, price, amount(line.hour), amount(line.run), week]


class PriceTable(CostDirective):
    """Every price with its allowance, its page and the day it was read."""

    def content_nodes(self, prices):
        """The table."""
        rows = [
            [price.name, price.rate, price.free or "–", link(price.citation)]
            for price in prices.entries.values()
        ]
        return [table(["Price", "Rate", "Free", "Read"], rows, widths=[34, 32, 20, 14])]


class ForgottenWeek(CostDirective):
    """The picture: what a week costs in which nobody looks, a bar a module."""

    def content_nodes(self, prices):
        """An SVG in the page, with its text."""
        modules = sorted(costs.module_costs(prices), key=week_at_most, reverse=True)
        return [nodes.raw("", forgotten_week(modules), format="html")]


def forgotten_week(modules):
    """The SVG of the modules' forgotten weeks, in the order given."""
    scale = (WIDTH - LEFT - ROOM) / max(map(week_at_most, modules))
    height = TOP + STEP * len(modules) + 44
    rows = [_row(module, TOP + STEP * row, scale) for row, module in enumerate(modules)]
    title = finding(modules)
    said = "; ".join(f"{module.title}: {week_words(module)}" for module in modules)
    axis = f'<text x="{LEFT}" y="{height - 12}">US dollars for 168 hours, list prices</text>'
    return "\n".join(
        [
            f'<figure style="overflow-x: auto"><svg viewBox="0 0 {WIDTH} {height}" role="img"'
            ' aria-labelledby="forgotten-week-title forgotten-week-text" font-size="15"'
            ' fill="currentColor" style="width: 100%; min-width: 560px; max-width: 720px">',
            f'<title id="forgotten-week-title">{escape(" ".join(title))}</title>',
            f'<desc id="forgotten-week-text">{escape(said)}.</desc>',
            *(
                f'<text y="{y}" font-size="17" font-weight="600">{escape(line)}</text>'
                for y, line in zip((20, 44), title, strict=True)
            ),
            f'<line x1="{LEFT}" x2="{LEFT}" y1="{TOP - 8}" y2="{height - 36}"'
            ' stroke="currentColor" stroke-opacity="0.4"/>',
            *rows,
            axis,
            "</svg></figure>",
        ]
    )


def _row(module, y, scale):
    computed = scale * module.week.usd
    bar = f'<rect x="{LEFT}" y="{y}" height="{BAR}"'
    fill = "var(--pst-color-primary, #17607c)"
    drawn = f'{bar} width="{max(computed, 1):.1f}" fill="{fill}"/>'
    if module.reported_week:
        drawn += (
            f'{bar} width="{scale * module.reported_week[1]:.1f}" fill="none" stroke="{fill}"'
            ' stroke-dasharray="5 4"/>'
        )
    end = LEFT + max(scale * week_at_most(module), 1) + 8
    name = f'<text x="{LEFT - 10}" y="{y + 15}" text-anchor="end">{escape(module.title)}</text>'
    return f'{name}{drawn}<text x="{end:.1f}" y="{y + 15}">{escape(week_words(module))}</text>'


def finding(modules):
    """What the picture shows, in two lines."""
    many = [module for module in modules if week_at_most(module) >= MANY]
    weeks = [module.week for module in modules if module not in many]
    rest = costs.Amount(sum(week.usd for week in weeks), any(week.lower_bound for week in weeks))
    return (
        f"Forgotten for a week, {NUMBERS[len(many)]} things cost more than {MANY:.0f} USD each,",
        f"all others {rest} together",
    )


def week_at_most(module):
    """US dollars of a forgotten week, as computed or as others report, whichever is more."""
    return max(module.week.usd, *(module.reported_week or (0.0,)))


def week_words(module):
    """A forgotten week in words."""
    if not module.reported_week:
        return str(module.week)
    low, high = module.reported_week
    return f"{low:.0f} to {high:.0f} USD, reported"


def amount(usd):
    """An amount in words, or where to look for it."""
    if usd is None:
        return "see source"
    return costs.money(usd) if usd else "–"


def link(citation, text=""):
    """A link to a page, by the day it was read."""
    return nodes.reference(
        "", "", nodes.Text(text or citation.accessed.isoformat()), refuri=citation.source
    )


def words(*parts, kind=nodes.paragraph):
    """A paragraph, or another node, of texts and nodes."""
    nodes_of = [part if isinstance(part, nodes.Node) else nodes.Text(part) for part in parts]
    return kind("", "", *nodes_of)


def setup(app):
    """Register the extension with Sphinx."""
    app.add_directive("cost-tables", CostTables)
    app.add_directive("price-table", PriceTable)
    app.add_directive("forgotten-week", ForgottenWeek)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
