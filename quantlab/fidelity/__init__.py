"""How far a variant is from the reference. Definitions: docs/measurement.md."""

#: Changes when a figure of the same answer or text is measured or computed otherwise. What was measured by another
#: version is neither replayed nor gone on with: its figures would stand beside others of the same name.
METRICS = 4
