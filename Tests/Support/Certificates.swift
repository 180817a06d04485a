import Foundation

/// Authorities and certificates of a test's own, made with `openssl` in a temporary folder.
package struct Certificates: Sendable {
    package let folder: TemporaryFolder

    /// Whether there is a program `openssl`; tests say aloud that they are skipped without it.
    package static let isOpenSSLThere =
        (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":")
        .contains { FileManager.default.isExecutableFile(atPath: "\($0)/openssl") }

    package init() throws { folder = try TemporaryFolder() }

    package func path(_ file: String) -> String { folder.path(file) }

    /// Makes `NAME.crt` and `NAME.key` of an authority.
    package func makeAuthority(_ name: String) async throws {
        try await run(
            ["req", "-x509"] + Self.newKey + [
                "-keyout", path("\(name).key"), "-out", path("\(name).crt"), "-subj", "/CN=\(name)", "-days", "2",
            ])
    }

    /// Makes `NAME.crt` and `NAME.key`, issued by an authority.
    /// - Parameters:
    ///   - names: as OpenSSL writes them: `DNS:localhost,IP:127.0.0.1`.
    ///   - days: how long it is valid from now; negative: it has expired.
    package func make(_ name: String, by authority: String, for names: String, days: Int = 2) async throws {
        try await run(
            ["req"] + Self.newKey + [
                "-keyout", path("\(name).key"), "-out", path("\(name).csr"), "-subj", "/CN=\(name)",
            ])
        let extensions = try folder.write("subjectAltName=\(names)\n", to: "\(name).ext")
        try await run([
            "x509", "-req", "-in", path("\(name).csr"), "-CA", path("\(authority).crt"), "-CAkey",
            path("\(authority).key"), "-CAcreateserial", "-days", "\(days)", "-extfile", extensions, "-out",
            path("\(name).crt"),
        ])
    }

    /// Puts one pair in the place of another, each file at once, as tools that renew certificates do.
    package func replace(_ name: String, with other: String) throws {
        for ending in ["crt", "key"] {
            try FileManager.default.copyItem(atPath: path("\(other).\(ending)"), toPath: path("next"))
            guard rename(path("next"), path("\(name).\(ending)")) == 0 else { throw SupportError("cannot rename") }
        }
    }

    private static let newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]

    private func run(_ arguments: [String]) async throws {
        let process = try ChildProcess("openssl", arguments)
        guard case .exited(0) = try await process.wait() else {
            throw SupportError("openssl \(arguments[0]) failed: \(process.errors)")
        }
    }
}
