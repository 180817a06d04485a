import Glibc

/// Output to a terminal, a pipe or a file.
package enum StandardStream {
    /// Writes all of a text. What cannot be written is dropped: a pipe's reader may have stopped.
    package static func write(_ text: String, to descriptor: Int32) {
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { return }
            rest = rest.dropFirst(count)
        }
    }

    /// Whether nobody will read what is written: the reader of a pipe, or a terminal, has gone.
    package static func isAbandoned(_ descriptor: Int32) -> Bool {
        var status = pollfd(fd: descriptor, events: 0, revents: 0)
        return poll(&status, 1, 0) == 1 && Int32(status.revents) & (POLLERR | POLLHUP | POLLNVAL) != 0
    }
}
