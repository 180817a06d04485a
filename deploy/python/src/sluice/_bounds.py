"""Every bound of this package, with its unit and its reason."""

from typing import Final

#: Longest wait for a connection, in seconds: for a free one in the pool, or for the sidecar to accept one. A Unix socket
#: connects in microseconds; longer means that the sidecar is stopped or overloaded.
CONNECT_TIMEOUT_S: Final = 0.25
#: Longest wait for an answer, in seconds. The sidecar answers within its own budget, 20 ms unless set otherwise.
ANSWER_TIMEOUT_S: Final = 0.25
#: Most connections of one client. The sidecar accepts 10,000 from all.
MAX_CONNECTIONS: Final = 16
#: Most requests of one asyncio connection that wait for their answers; more wait for a place. The sidecar reads 1,024.
MAX_IN_FLIGHT: Final = 256
#: Requests that are written before their answers are read. Their answers fit into the socket's buffers, so neither side
#: waits for the other to read.
PIPELINE: Final = 64
#: Bytes of a name, as the sidecar has it.
MAX_NAME_BYTES: Final = 256
#: Attributes of a check, as the sidecar has it. With MAX_NAME_BYTES a request stays below the sidecar's 64 KiB.
MAX_ATTRIBUTES: Final = 16
#: Bytes of one answer, above which the connection is closed: no sidecar sends as much.
MAX_ANSWER_BYTES: Final = 1024 * 1024
#: Elements of an array, and arrays inside each other, in an answer: likewise.
MAX_ANSWER_ELEMENTS: Final = 1024
MAX_ANSWER_DEPTH: Final = 4
#: Bytes read from a connection at a time.
READ_BYTES: Final = 64 * 1024
#: Reservations that an adapter remembers between two callbacks of a framework. The oldest is dropped and stays charged
#: with its estimate.
MAX_OPEN_RESERVATIONS: Final = 65_536
#: What `retry_after_ms` says when there was no answer, in milliseconds.
UNAVAILABLE_RETRY_MS: Final = 1000
