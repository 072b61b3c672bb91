"""``python -m minisd``, for ``accelerate launch -m minisd``: the command line."""

from minisd.cli import app

if __name__ == "__main__":
    app()
