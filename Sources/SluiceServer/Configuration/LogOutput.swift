import Glibc
import NIOConcurrencyHelpers

/// Where log lines go: a file, a pipe or a terminal, usually standard error. Writing never waits: the event loop writes
/// too, and the reader may have stopped.
package final class LogOutput: TextOutputStream, Sendable {
    private struct State {
        /// Lines dropped since the last one that was written.
        var dropped = 0
        /// Whether the last written line was cut.
        var isCut = false
    }

    private let descriptor: Int32
    private let state = NIOLockedValueBox(State())

    package init(descriptor: Int32) { self.descriptor = descriptor }

    /// Writes one line with a line feed, or drops it.
    package func write(_ line: String) {
        // One line at a time, so that lines do not mix and the room that was found stays free.
        state.withLockedValue { state in
            var text = state.isCut ? "\n" : ""
            if state.dropped > 0 { text += "(\(state.dropped) lines of the log were dropped: nobody read them)\n" }
            text += line
            let bytes = Array(text.utf8)
            let written = write(bytes)
            if written == bytes.count {
                state = State()
            } else {
                state.dropped += 1
                if written > 0 { state.isCut = true }
            }
        }
    }

    /// - Returns: how many bytes there was room for.
    private func write(_ bytes: [UInt8]) -> Int {
        var rest = bytes[...]
        while !rest.isEmpty {
            var status = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
            guard poll(&status, 1, 0) == 1, status.revents & Int16(POLLOUT) != 0 else { break }
            let chunk = rest.prefix(ServerBounds.maxLogWriteBytes)
            let count = chunk.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { break }
            rest = rest.dropFirst(count)
        }
        return bytes.count - rest.count
    }
}
