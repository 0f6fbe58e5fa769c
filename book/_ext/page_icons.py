"""The theme's icons, only those that the book uses: 20 KB in place of 1.8 MB on every page.

The theme loads all of Font Awesome, as a script. `_templates/static/webpack-macros.html` loads
`icons.css` instead, which this extension writes when all pages are there: the rules of the classes
that occur, and fonts with the glyphs that these and the theme's own styles ask for.
"""

import re
from pathlib import Path

from fontTools import subset
from fontTools.ttLib import TTFont

VENDOR = "_static/vendor/fontawesome"
ICONS = "icons.css"
NAME = re.compile(r"\bfa[srb]?\b(?:-[a-z0-9-]+)?")
RULE = re.compile(r"([^{}]+)\{([^{}]*)\}")
# A glyph in a style sheet, by its code or as it is: all are in the area for private use.
GLYPH = re.compile(r"\\([ef][0-9a-f]{3})\b|([\ue000-\uf8ff])")


def write_icons(app, exception):
    """`build-finished`: write `icons.css` and its fonts."""
    sheets = sorted((Path(app.outdir) / VENDOR).glob("*/css/all.min.css"))
    if exception or app.builder.format != "html" or not sheets:
        return
    [sheet] = sheets
    static = Path(app.outdir) / "_static"
    rules = used_rules(sheet.read_text(encoding="utf-8"), used_names(app.outdir))
    glyphs = glyphs_in("".join(rules)) | theme_glyphs(static)
    kept = []
    for rule in rules:
        if not rule.startswith("@font-face"):
            kept.append(rule)
        elif font := re.search(r"url\(\.\./webfonts/([\w-]+)\.ttf\)", rule):
            name = f"icons-{font[1]}.woff"
            if write_font(sheet.parent.parent / f"webfonts/{font[1]}.ttf", glyphs, static / name):
                kept.append(re.sub(r"src:[^;}]*", f'src:url({name}) format("woff")', rule))
    license_text = sheet.read_text(encoding="utf-8").partition("*/")[0] + "*/\n"
    (static / ICONS).write_text(license_text + "\n".join(kept) + "\n", encoding="utf-8")


def used_names(folder):
    """The classes of Font Awesome that occur in pages, or that the theme's scripts put there."""
    folder = Path(folder)
    files = [*folder.rglob("*.html"), *(folder / "_static" / "scripts").glob("*.js")]
    return {name for file in files for name in NAME.findall(file.read_text(encoding="utf-8"))}


def used_rules(sheet, names):
    """The rules of a style sheet whose selectors name no class but these, and the fonts'."""
    sheet = re.sub(r"/\*.*?\*/", "", sheet, flags=re.DOTALL)
    rules = []
    for selectors, body in RULE.findall(sheet):
        wanted = [one.strip() for one in selectors.split(",") if _is_wanted(one.strip(), names)]
        if wanted:
            rules.append(f"{','.join(wanted)}{{{body}}}")
    return rules


def _is_wanted(selector, names):
    if selector.startswith("@font-face"):
        return True
    classes = NAME.findall(selector)
    return selector == ":root" or (bool(classes) and set(classes) <= names)


def theme_glyphs(static):
    """The glyphs that style sheets ask for without a class."""
    sheets = [*static.glob("styles/*.css"), *static.glob("*.css")]
    texts = (sheet.read_text(encoding="utf-8") for sheet in sheets if sheet.name != ICONS)
    return set().union(*map(glyphs_in, texts))


def glyphs_in(text):
    """The codes of the glyphs that a style sheet names."""
    return {int(code, 16) if code else ord(sign) for code, sign in GLYPH.findall(text)}


def write_font(source, glyphs, target):
    """Write a font's glyphs of these codes; return whether it has any."""
    font = TTFont(source)
    wanted = glyphs & set(font.getBestCmap())
    if not wanted:
        return False
    options = subset.Options(flavor="woff", layout_features=[], hinting=False, glyph_names=False)
    cut = subset.Subsetter(options)
    cut.populate(unicodes=wanted)
    cut.subset(font)
    font.flavor = "woff"
    font.save(target)
    return True


def setup(app):
    """Register the extension with Sphinx."""
    app.connect("build-finished", write_icons)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
