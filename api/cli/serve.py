"""`winnow serve`: the API, the dashboard and one runner.

Knows options; processes and sockets are `api.serve`'s.
"""

from __future__ import annotations

from typing import Annotated

import typer

from api.cli.exits import exit_codes

__all__ = ["serve"]


@exit_codes
def serve(
    root: Annotated[
        str | None, typer.Option(metavar="DIR", help="Where everything lies [WINNOW_ROOT, ./winnow-data].")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on [WINNOW_HOST, 127.0.0.1].")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port; 0 takes a free one [WINNOW_PORT, 8700].")
    ] = None,
) -> None:
    """Serve the REST API and the dashboard, and work on runs."""
    from api.serve import serve as run_server
    from curator.settings import Settings

    raise typer.Exit(run_server(Settings.from_environment(root=root, host=host, port=port)))
