"""Options that the market's commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DirArgument = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the job or provider.")]
FolderOption = Annotated[
    Path | None,
    typer.Option(
        "--folder",
        metavar="DIR",
        help="Keep everything there (default: jobs/NAME, providers/me or judges/me).",
        show_default=False,
    ),
]
PointsArgument = Annotated[
    int, typer.Argument(metavar="POINTS", min=0, max=100, help="0 (useless) to 100 (as agreed).")
]
SentenceArgument = Annotated[
    str, typer.Argument(metavar="[SENTENCE]", help="Why, for others to read.", show_default=False)
]
RelayOption = Annotated[
    list[str] | None,
    typer.Option(
        "--relay", metavar="URL", help="A relay; may be repeated (default ws://127.0.0.1:7447)."
    ),
]
BlobsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--blobs",
        metavar="URL",
        help="A blob server; may be repeated (default http://127.0.0.1:24242).",
    ),
]
WalletOption = Annotated[
    str,
    typer.Option(
        "--wallet",
        metavar="WALLET",
        help="embedded:FILE#NAME, lnbits:URL, nwc:FILE or nostr+walletconnect://...",
    ),
]
SecretOption = Annotated[
    Path | None,
    typer.Option(
        "--secret-file", metavar="FILE", help="A file whose first line is the wallet's key."
    ),
]
EcashOption = Annotated[
    str,
    typer.Option(
        "--ecash", metavar="ECASH", help="For payment by escrow: cashu:URL or embedded:FILE."
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", metavar="", help="Print a document for programs.")
]
PortOption = Annotated[
    int,
    typer.Option("--port", min=0, max=65535, metavar="PORT", help="0: any free one; it is shown."),
]
HostOption = Annotated[str, typer.Option("--host", metavar="ADDRESS", help="Address to listen at.")]
ContractsOption = Annotated[
    int | None,
    typer.Option(
        "--contracts", min=1, max=100, metavar="N", help="At the same time, at most (default 4)."
    ),
]
DisputesOption = Annotated[
    bool | None,
    typer.Option("--disputes", metavar="", help="Ask a job's jury about rejections."),
]
WaitOption = Annotated[
    int | None,
    typer.Option(
        "--wait-hours",
        metavar="HOURS",
        min=1,
        help="Pass over jobs whose own times can hold a place or pay for longer (default 24).",
    ),
]
