"""The little JavaScript of the page. It asks nothing from outside and keeps nothing but the choice of light or dark."""


def to_tab(title: str) -> str:
    """Shows a tab as a click on it does, with all that hangs on its selection."""
    return (
        "() => Array.from(document.querySelectorAll('[role=tab]'))"
        f".find(tab => tab.textContent.trim() === '{title}')?.click()"
    )


def in_sight(elem_id: str) -> str:
    """Scrolls as little as it takes to have an element, and what stands right behind it, in view."""
    return (
        f"() => setTimeout(() => {{ const it = document.getElementById('{elem_id}');"
        " it?.nextElementSibling?.scrollIntoView({block: 'nearest'}); it?.scrollIntoView({block: 'nearest'}); }, 60)"
    )


#: A screen of so many pixels or fewer shows one thing under the other, as style.css does.
NARROW = 900
#: How often a class's board is renewed, in milliseconds.
BOARD_MS = 3_000
#: Tabs that work at once, after which another one waits: a browser keeps six connections to a server, and each of
#: these holds two.
BUSY_TABS = 3
#: Every tab tells the others whether it works; `pagehide` says that it has gone, and silence means so after a while.
_COUNT_BUSY_TABS = """
    const others = new Map();
    const self = Math.random().toString(36).slice(2);
    const channel = 'BroadcastChannel' in window ? new BroadcastChannel('quantlab' + location.pathname) : null;
    const works = () => ['stop', 'quality-stop', 'kept-stop', 'lesson-stop'].some(id => {
        const button = document.getElementById(id);
        return Boolean(button) && !button.disabled;
    });
    const notice = document.createElement('div');
    notice.id = 'busy-tabs';
    notice.setAttribute('role', 'status');
    document.body.prepend(notice);
    const count = () => {
        const now = Date.now();
        others.forEach((it, name) => { if (now - it.at > 70000) others.delete(name); });
        const busy = [...others.values()].filter(it => it.works).length + works();
        notice.textContent = busy < BUSY ? '' :
            `${busy} tabs of this page are working. A browser keeps six connections to one server, so that further ` +
            'tabs wait, and may not even open, until one of them has ended or is closed.';
    };
    if (channel) {
        channel.onmessage = ({data}) => {
            if (data.gone) others.delete(data.from); else others.set(data.from, {works: data.works, at: Date.now()});
            count();
        };
        setInterval(() => { channel.postMessage({from: self, works: works()}); count(); }, 1000);
        window.addEventListener('pagehide', () => channel.postMessage({from: self, gone: true}));
    }
""".replace("BUSY", str(BUSY_TABS))
#: Runs once when the page has loaded: the light/dark switch, the links from a figure to its definition, and the rail,
#: which on a narrow screen makes room for the answers once they are asked for.
ON_LOAD = (
    """
() => {
    const key = 'quantlab-theme';
    const asked = new URLSearchParams(location.search).get('__theme');
    let kept = null;
    try { kept = localStorage.getItem(key); } catch (error) { /* storage may be forbidden */ }
    if (!asked && kept) document.body.classList.toggle('dark', kept === 'dark');
    document.addEventListener('click', event => {
        const link = event.target.closest('a.define');
        const definition = link && document.getElementById(link.hash.slice(1));
        if (!definition) return;
        event.preventDefault();
        definition.closest('details').open = true;
        const row = definition.closest('tr') || definition;
        row.scrollIntoView({block: 'center'});
        document.querySelectorAll('.defined').forEach(old => old.classList.remove('defined'));
        row.classList.add('defined');
    });
    document.addEventListener('click', event => {
        if (!event.target.closest('#theme-switch')) return;
        const dark = document.body.classList.toggle('dark');
        try { localStorage.setItem(key, dark ? 'dark' : 'light'); } catch (error) { /* as above */ }
    });
    // A chart that was drawn while its tab was hidden has Plotly's own width until the window tells of a new size.
    const refit = () => [100, 700, 2000].forEach(
        wait => setTimeout(() => window.dispatchEvent(new Event('resize')), wait)
    );
    // Each of the tabs has its rail, and all are folded or none is.
    const folded = () => document.body.classList.contains('rail-folded');
    const tell = () => document.querySelectorAll('.rail').forEach(rail => {
        const model = rail.querySelector('[id$="model"] input')?.value || 'no model';
        const ticked = rail.querySelectorAll('.picks input:checked').length;
        rail.querySelector('.rail-fold').setAttribute('aria-expanded', String(!folded()));
        rail.querySelector('.rail-chosen').textContent = folded() ? `${model}, ${ticked} ticked` : '';
    });
    const fold = away => {
        document.body.classList.toggle('rail-folded', away);
        tell();
        refit();
    };
    const seen = where => Array.from(document.querySelectorAll(where)).find(it => it.offsetParent);
    document.addEventListener('click', event => { if (event.target.closest('[role=tab]')) refit(); });
    document.addEventListener('click', event => {
        if (event.target.closest('.rail-fold')) fold(!folded());
    });
    // Of several tabs one is shown. Only what can be pressed is.
    const press = ids => {
        const button = ids.map(id => document.getElementById(id)).find(it => it && it.offsetParent && !it.disabled);
        if (button) button.click();
        return Boolean(button);
    };
    document.addEventListener('keydown', event => {
        const listOpen = event.target.getAttribute?.('aria-expanded') === 'true' && event.target.matches('input');
        if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) {
            if (press(['compare', 'measure'])) event.preventDefault();
        } else if (event.key === 'Escape' && !listOpen) {
            press(['stop', 'quality-stop', 'kept-stop', 'lesson-stop']);
        }
    }, true);
    document.addEventListener('click', event => {
        if (!event.target.closest('.skip')) return;
        event.preventDefault();
        seen('#prompt textarea, #quality-source input:checked')?.focus();
    });
    document.addEventListener('quantlab:asked', () => {
        if (innerWidth > NARROW) return;
        if (!seen(':is(#problem, #quality-problem) .fault')) fold(true);
        seen('.actions').scrollIntoView({block: 'start'});
    });
    document.addEventListener('quantlab:chosen', tell);
    // A class's board renews itself while somebody looks at it.
    setInterval(() => {
        if (!document.hidden && seen('#class-board .board')) document.getElementById('class-refresh').click();
    }, BOARD_MS);
    window.addEventListener('popstate', () => { if (/[?&]entry=/.test(location.search)) (TO_HISTORY)(); });
COUNT_BUSY_TABS}
""".replace("NARROW", str(NARROW))
    .replace("BOARD_MS", str(BOARD_MS))
    .replace("TO_HISTORY", to_tab("History"))
    .replace("COUNT_BUSY_TABS", _COUNT_BUSY_TABS)
)

#: An address that names an entry of the history opens on it.
SHOW_ENTRY = f"() => {{ if (/[?&]entry=/.test(location.search)) ({to_tab('History')})(); }}"
#: One that names a lesson opens on that.
SHOW_LESSON = f"() => {{ if (/[?&]lesson=/.test(location.search)) ({to_tab('Learn')})(); }}"
COPY_ADDRESS = """
async () => {
    try { await navigator.clipboard.writeText(location.href); } catch (error) { /* the address bar has it */ }
}
"""

_REPLACE = """
    const query = new URLSearchParams(link);
    const theme = new URLSearchParams(location.search).get('__theme');
    if (theme) query.set('__theme', theme);
    history.replaceState(null, '', location.pathname + '?' + query);
"""

#: The address bar follows the choice, so that a reload or a copied address restores it.
SHOW_LINK = f"(link) => {{ if (!link) return; {_REPLACE} }}"

#: What was chosen from another tab is there, but perhaps not yet drawn.
CHOSEN = "() => { setTimeout(() => document.dispatchEvent(new Event('quantlab:chosen')), 100); }"

#: What a click on Compare or Measure shows at once is there, but perhaps not yet drawn.
ASKED = "() => { setTimeout(() => document.dispatchEvent(new Event('quantlab:asked')), 60); }"

#: On a narrow screen the entry that was tapped stands below all others.
SHOW_OPENED = f"""
() => setTimeout(() => {{
    if (innerWidth <= {NARROW}) document.getElementById('kept-shown')?.scrollIntoView({{block: 'start'}});
}}, 60)
"""


#: On a narrow screen the problem of a link stands below the whole rail.
SHOW_PROBLEM = f"""
() => setTimeout(() => {{
    if (innerWidth <= {NARROW}) document.querySelector('#problem .fault')?.scrollIntoView({{block: 'center'}});
}}, 200)
"""


#: Fetches what a download button holds: its file was written a moment ago.
DOWNLOAD = """
(file) => {
    if (!file || !file.url) return;
    const link = document.createElement('a');
    link.href = file.url;
    link.download = file.orig_name;
    link.click();
}
"""

#: A program to the clipboard. Where that is forbidden it stands on the page.
COPY_CODE = """
async (code) => {
    if (!code) return;
    try { await navigator.clipboard.writeText(code); }
    catch (error) { document.querySelector('#code-shown details')?.setAttribute('open', ''); }
}
"""
#: As SHOW_LINK, and the address goes to the clipboard. Where that is forbidden the address bar still holds it.
COPY_LINK = f"""
async (link) => {{
    if (!link) return;
    {_REPLACE}
    try {{ await navigator.clipboard.writeText(location.href); }} catch (error) {{ /* the address bar has it */ }}
}}
"""
