"""The templates: what is put in becomes no markup, line breaks of a template are none of the page."""

import re
from pathlib import Path

import pytest
from jinja2 import StrictUndefined, TemplateSyntaxError, UndefinedError

import quantlab
from quantlab.reporting import templates
from quantlab.reporting.templates import Pieces, joined, page

PACKAGE = Path(quantlab.__file__).parent
FILES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.html"))
HOSTILE = "<script>x</script> \"'& {{ 7 * 7 }}{% endif %}{# gone #} &lt;"
#: HTML that is put in as it is: our own documents, style and scripts, and a chart's JSON.
TRUSTED = {
    "reporting/html/report.html": {"section.figure", "definitions", "library"},
    "reporting/html/swept.html": {"library", "section.figure"},
    "reporting/html/style.html": {"chart_css"},
    "ui/common/fragments.html": {"body"},
    "ui/lessons/fragments.html": {"body", "question", "answer"},
}


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Pieces from a template given as text."""
    monkeypatch.setattr(templates, "_PACKAGE", tmp_path)
    templates._environment.cache_clear()
    templates._piece.cache_clear()

    def make(source: str) -> Pieces:
        (tmp_path / "it.html").write_text(source, encoding="utf-8")
        return Pieces("it.html")

    yield make
    templates._environment.cache_clear()
    templates._piece.cache_clear()


@pytest.mark.parametrize(
    ("source", "meant"),
    (
        ("<p>\n  <b>", "<p><b>"),
        ("<p>one\n  two</p>", "<p>one two</p>"),
        ("<p>one\n</p>", "<p>one</p>"),
        ('<p class="a"\n   id="b">x', '<p class="a" id="b">x'),
        ("{{ a }}\nb", "{{ a }} b"),
        ("{% if a %}\nb\n{% endif %}", "{% if a %}b{% endif %}"),
        ("{{ f(a,\n  b) }}<p>", "{{ f(a,\n  b) }}<p>"),
        ("a\n\n\n  b", "a b"),
        ("one line ", "one line "),
    ),
)
def test_a_line_break_is_nothing_beside_a_tag_and_a_space_between_words(source: str, meant: str):
    found = joined(source)
    assert re.sub(r"\{#\n#\}", "", found) == meant
    assert found.count("\n") == source.count("\n"), "errors name the line of the file"


def test_what_is_put_in_becomes_no_markup(made):
    html = made('{% macro it(x) %}<p title="{{ x }}">{{ x }}</p>{% endmacro %}').it(HOSTILE)
    escaped = "&lt;script&gt;x&lt;/script&gt; &#34;&#39;&amp; {{ 7 * 7 }}{% endif %}{# gone #} &amp;lt;"
    assert html == f'<p title="{escaped}">{escaped}</p>'


def test_a_piece_within_a_piece_is_escaped_once(made):
    pieces = made("{% macro inner(x) %}<b>{{ x }}</b>{% endmacro %}{% macro outer(x) %}<p>{{ x }}</p>{% endmacro %}")
    assert pieces.outer(pieces.inner("&")) == "<p><b>&amp;</b></p>"
    assert pieces.outer(str(f"{pieces.inner('&')}")) == "<p>&lt;b&gt;&amp;amp;&lt;/b&gt;</p>", "a plain text is a text"


def test_half_a_character_is_the_sign_for_none(made):
    html = made("{% macro it(x) %}<p>{{ x }}</p>{% endmacro %}").it("a\ud800\0ü😀")
    assert html == "<p>a\ufffd\0ü😀</p>" and html.encode("utf-8")
    assert made("").__class__ is Pieces and hasattr(html, "__html__"), "it is still HTML"


def test_a_name_that_is_missing_is_an_error(made):
    with pytest.raises(UndefinedError):
        made("{% macro it() %}{{ nobody }}{% endmacro %}").it()
    with pytest.raises(AttributeError):
        made("{% macro it() %}{% endmacro %}").other()


def test_an_error_names_its_line(made):
    with pytest.raises(TemplateSyntaxError) as error:
        made("<p>\n  text\n  text\n\n<b>\n{{ 1 + }}").it()
    assert error.value.lineno == 6


@pytest.mark.parametrize("file", FILES or ["there is none"])
def test_every_template_compiles_and_escapes(file: str):
    source = (PACKAGE / file).read_text(encoding="utf-8")
    assert templates._environment().get_template(file)
    assert set(re.findall(r"\{\{ (\S+) \| safe \}\}", source)) == TRUSTED.get(file, set())
    assert len(re.findall(r"\bsafe\b|autoescape|Markup", source)) == len(TRUSTED.get(file, ()))
    assert templates._environment().undefined is StrictUndefined


def test_a_page_keeps_its_lines(made, tmp_path):
    (tmp_path / "page.html").write_text("<!doctype html>\n<p>\n{{ x }}\n</p>", encoding="utf-8")
    made("")
    assert page("page.html", x="&\ud800") == "<!doctype html>\n<p>\n&amp;\ufffd\n</p>"


@pytest.fixture
def cached_in(monkeypatch, tmp_path):
    """The settings with a cache folder of the test's own."""

    def choose(folder: Path) -> Path:
        app = templates.app_settings().model_copy(update={"cache_folder": folder})
        monkeypatch.setattr(templates, "app_settings", lambda: app)
        templates._environment.cache_clear()
        templates._piece.cache_clear()
        return folder / ".templates"

    return choose


def test_a_compiled_template_is_kept_and_a_changed_one_is_compiled_anew(made, cached_in, tmp_path):
    kept = cached_in(tmp_path / "cache")
    assert made("{% macro it() %}one{% endmacro %}").it() == "one"
    (first,) = kept.iterdir()
    before = first.read_bytes()
    cached_in(tmp_path / "cache")
    assert made("{% macro it() %}one{% endmacro %}").it() == "one" and first.read_bytes() == before
    cached_in(tmp_path / "cache")
    assert made("{% macro it() %}two{% endmacro %}").it() == "two" and first.read_bytes() != before


@pytest.mark.parametrize("content", [b"", b"no bytecode", None])
def test_a_spoilt_compiled_template_is_compiled_anew(made, cached_in, tmp_path, content):
    kept = cached_in(tmp_path / "cache")
    made("{% macro it() %}one{% endmacro %}").it()
    (first,) = kept.iterdir()
    first.write_bytes(first.read_bytes()[:-9] if content is None else content)
    cached_in(tmp_path / "cache")
    assert made("{% macro it() %}one{% endmacro %}").it() == "one"


def test_a_page_is_shown_where_nothing_can_be_kept(made, cached_in, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    cached_in(tmp_path / "file")
    assert made("{% macro it() %}one{% endmacro %}").it() == "one"

    def full(*_named: object, **_also: object) -> None:
        raise OSError(28, "No space left on device")

    cached_in(tmp_path / "cache")
    monkeypatch.setattr("tempfile.NamedTemporaryFile", full)
    assert made("{% macro it() %}one{% endmacro %}").it() == "one"
