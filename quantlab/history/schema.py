"""The tables of the history, and how an older file becomes one of today."""

from quantlab.runtime.database import Schema

#: "qlab": tells a history from another program's database.
APPLICATION_ID = 0x716C6162

#: Steps from version to version; see `Schema`.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        # `head` is the record without its runs, `asked` what leads to it again, `owner` names the lock of the process
        # at work, `replay_key` all that changes the answer; `haystack` is what a search looks through.
        """CREATE TABLE entries (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            kind TEXT NOT NULL,
            state TEXT NOT NULL,
            model TEXT NOT NULL,
            title TEXT NOT NULL,
            precisions TEXT NOT NULL,
            started TEXT NOT NULL,
            ended TEXT,
            asked TEXT NOT NULL,
            head TEXT NOT NULL,
            haystack TEXT NOT NULL,
            owner TEXT,
            replay_key TEXT
        )""",
        """CREATE TABLE runs (
            entry INTEGER NOT NULL REFERENCES entries ON DELETE CASCADE,
            precision TEXT NOT NULL,
            position INTEGER NOT NULL,
            data TEXT NOT NULL,
            PRIMARY KEY (entry, precision)
        )""",
        "CREATE INDEX entries_by_state ON entries (state)",
        "CREATE INDEX entries_by_key ON entries (replay_key) WHERE replay_key IS NOT NULL",
    ),
    (
        # How each run ended, so that a list of entries reads no run's JSON.
        "ALTER TABLE runs ADD COLUMN outcome TEXT NOT NULL DEFAULT 'done'",
        """UPDATE runs SET outcome = CASE
            WHEN NOT json_valid(data) THEN 'damaged'
            WHEN json_extract(data, '$.stopped') THEN 'stopped'
            WHEN json_extract(data, '$.error') IS NOT NULL THEN 'failed'
            ELSE 'done' END""",
    ),
)
SCHEMA = Schema("history", "QUANTLAB_HISTORY_FILE", APPLICATION_ID, MIGRATIONS)
