import Glibc

/// How many files this process may open. Most systems start a process with 1,024, far fewer than the connections that a
/// sidecar accepts, and allow it to raise that.
package enum OpenFileLimit {
    /// Raises the limit as far as the sidecar needs and the system permits. - Returns: how many connections fit, at
    /// most `ServerBounds.maxConnections`.
    package static func raise() -> Int {
        let wanted = rlim_t(ServerBounds.maxConnections + ServerBounds.reservedFiles)
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else {
            return ServerBounds.maxConnections
        }
        if limit.rlim_cur < wanted {
            var raised = limit
            raised.rlim_cur = min(wanted, limit.rlim_max)
            if setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &raised) == 0 { limit = raised }
        }
        return connections(fitting: UInt64(limit.rlim_cur))
    }

    static func connections(fitting files: UInt64) -> Int {
        let most = UInt64(ServerBounds.maxConnections)
        let reserved = UInt64(ServerBounds.reservedFiles)
        return files > reserved ? Int(min(most, files - reserved)) : 1
    }
}
