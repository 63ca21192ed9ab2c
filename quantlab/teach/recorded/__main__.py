"""`python -m quantlab.teach.recorded`: see `making`."""

import sys

from quantlab.errors import QuantlabError
from quantlab.teach.recorded.making import main

if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except QuantlabError as error:
        sys.exit(str(error))
