/// Variables that begin as settings' do and are others' business.
enum OtherVariables {
    /// Those of this repository's scripts.
    private static let scripts: Set = ["SLUICE_BIN", "SLUICE_ROOT"]

    static func contains(_ name: String) -> Bool {
        scripts.contains(name) || name.hasPrefix("SLUICE_TEST_") || isServiceLink(name)
    }

    /// Whether Kubernetes sets it, in every pod beside a service whose name begins with `sluice`: `SLUICE_SERVICE_HOST`,
    /// `SLUICE_REDIS_SERVICE_PORT_TLS`, `SLUICE_PORT`, `SLUICE_REDIS_PORT_6379_TCP_ADDR`.
    private static func isServiceLink(_ name: String) -> Bool {
        if name.hasSuffix("_SERVICE_HOST") || name.hasSuffix("_PORT") || name.contains("_SERVICE_PORT_") { return true }
        let words = name.split(separator: "_", omittingEmptySubsequences: false)
        guard let protocolIndex = words.lastIndex(where: { ["TCP", "UDP", "SCTP"].contains($0) }), protocolIndex >= 2
        else {
            return false
        }
        let last = words[(protocolIndex + 1)...]
        return words[protocolIndex - 2] == "PORT" && UInt16(words[protocolIndex - 1]) != nil
            && (last.isEmpty || last.count == 1 && ["PROTO", "PORT", "ADDR"].contains(last[last.startIndex]))
    }
}
