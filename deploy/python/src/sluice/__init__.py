"""Client of Sluice, the rate-limiter sidecar: may this grant make this call?

    sluice = Sluice("/run/sluice/sluice.sock")
    if decision := sluice.check("alice-laptop", "opencode_run"):
        ...

`AsyncSluice` is the same for asyncio. Adapters are modules of their own: `sluice.asgi`, `sluice.fastmcp`, `sluice.mcp`,
`sluice.litellm`, `sluice.contextforge`.
"""

from ._async import AsyncReservation, AsyncSluice
from ._decision import Decision, Fail
from ._errors import Denied, RequestError, SluiceError, Unavailable
from ._sync import Reservation, Sluice

__version__ = "0.1.0"

__all__ = [
    "AsyncReservation",
    "AsyncSluice",
    "Decision",
    "Denied",
    "Fail",
    "RequestError",
    "Reservation",
    "Sluice",
    "SluiceError",
    "Unavailable",
]
