"""`python -m quantlab.cli`."""

from quantlab.cli import main

raise SystemExit(main())
