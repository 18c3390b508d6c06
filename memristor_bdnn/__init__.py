"""Robots that learn manipulation skills on a Bayesian network in memristor crossbars."""

from pkgutil import extend_path

# The generated messages (memristor_bdnn.msg, .srv, .action) live in the installed copy of this
# package. When the source tree comes first on sys.path, extend_path lets both halves be found.
__path__ = extend_path(__path__, __name__)

__version__ = "0.1.0"
