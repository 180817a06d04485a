import Glibc
internal import NIOCore
internal import NIOSSL

/// What `rediss://` adds: whom to trust, and a certificate of our own. The server is always verified.
package struct RedisTLS: Sendable, Equatable {
    /// A PEM file with the certificates to trust; nil: those of the system.
    package var authorities: String?
    /// PEM files with a chain of certificates and its key, for servers that ask for one; nil: none.
    package var certificate: String?
    package var key: String?
    /// The name that the server's certificate must hold, also sent as SNI; nil: the host of the address.
    package var serverName: String?

    package init(
        authorities: String? = nil, certificate: String? = nil, key: String? = nil, serverName: String? = nil
    ) {
        self.authorities = authorities
        self.certificate = certificate
        self.key = key
        self.serverName = serverName
    }

    /// Reads the files, which takes a while: not for the event loop.
    func context(_ read: RedisAccess.ReadFile) throws(RedisAccessError) -> NIOSSLContext {
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.minimumTLSVersion = .tlsv12
        if let authorities {
            configuration.trustRoots = .certificates(try certificates(authorities, read))
        }
        if let certificate, let key {
            configuration.certificateChain = try certificates(certificate, read).map { .certificate($0) }
            configuration.privateKey = .privateKey(try privateKey(key, read))
        }
        do {
            return try NIOSSLContext(configuration: configuration)
        } catch {
            if let key, let certificate, (error as? NIOSSLError) == .failedToLoadPrivateKey {
                throw RedisAccessError("\(key): is not the key of the certificate in \(certificate)")
            }
            let files = [authorities, certificate, key].compactMap(\.self).joined(separator: ", ")
            throw RedisAccessError("\(files): not usable for TLS: \(TLSFault.name(of: error))")
        }
    }

    /// - Parameter host: that of the address; an IP address must be in the certificate as such.
    func handler(_ context: NIOSSLContext, host: String) throws(RedisAccessError) -> NIOSSLClientHandler {
        let name = serverName ?? host
        do {
            return try NIOSSLClientHandler(context: context, serverHostname: Self.isName(name) ? name : nil)
        } catch {
            throw RedisAccessError("\(name.prefix(253)) is not a name that a certificate can hold")
        }
    }

    /// Whether a certificate may hold it as a name, rather than as an address.
    static func isName(_ text: String) -> Bool {
        !text.contains(where: \.isWhitespace) && (try? SocketAddress(ipAddress: text, port: 0)) == nil
    }

    private func certificates(
        _ path: String, _ read: RedisAccess.ReadFile
    ) throws(RedisAccessError) -> [NIOSSLCertificate] {
        let bytes = try RedisAccessError.wrapping { try read(path) }
        guard let found = try? NIOSSLCertificate.fromPEMBytes(bytes), !found.isEmpty else {
            throw RedisAccessError("\(path): holds no certificate in PEM form")
        }
        return found
    }

    private func privateKey(_ path: String, _ read: RedisAccess.ReadFile) throws(RedisAccessError) -> NIOSSLPrivateKey {
        let bytes = try RedisAccessError.wrapping { try read(path) }
        // Without the callback, BoringSSL would ask for a passphrase at the terminal.
        let key = try? NIOSSLPrivateKey(bytes: bytes, format: .pem) { (_: NIOSSLPassphraseSetter<[UInt8]>) in
            throw RedisAccessError("a passphrase")
        }
        guard let key else { throw RedisAccessError("\(path): holds no private key in PEM form without a passphrase") }
        return key
    }
}

/// Why a TLS handshake failed, in one line with what to do.
struct TLSFault {
    let tls: RedisTLS
    let host: String
    /// What the server has shown, if it came so far.
    let certificate: NIOSSLCertificate?
    /// Seconds since 1970.
    let now: Int

    /// - Returns: nil if the error does not come from TLS.
    func words(for error: any Error) -> String? {
        if let error = error as? NIOSSLExtraError {
            guard error == .failedToValidateHostname else { return "TLS failed: \(error)" }
            return
                "the server's certificate is not for \(tls.serverName ?? host)\(names): connect by a name it holds, or "
                + "set --redis-server-name"
        }
        if let error = error as? NIOSSLError, case .uncleanShutdown = error { return "Redis closed the connection" }
        guard error is NIOSSLError || error is BoringSSLError else { return nil }
        let name = Self.name(of: error)
        switch name {
        case "CERTIFICATE_VERIFY_FAILED": return unverified
        case "WRONG_VERSION_NUMBER", "HTTP_REQUEST", "INVALID_SSL_RECORD", "UNEXPECTED_MESSAGE":
            return "the server does not speak TLS on this port: use redis:// there, or the port of its tls-port"
        case "UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION":
            return "the server speaks no TLS of version 1.2 or newer: see its tls-protocols"
        case _ where name.contains("ALERT"): return rejected(name)
        default: return "TLS failed: \(name)"
        }
    }

    /// The server's certificate cannot be verified.
    private var unverified: String {
        let trusted = tls.authorities.map { "in \($0)" } ?? "of this system (--redis-ca names others)"
        guard let certificate else {
            return "the server's certificate cannot be verified by the authorities \(trusted)"
        }
        if now > certificate.notValidAfter {
            return "the server's certificate expired \(Self.span(now - certificate.notValidAfter)) ago: renew it there"
        }
        if now < certificate.notValidBefore {
            return
                "the server's certificate is not valid before \(Self.span(certificate.notValidBefore - now)) from now: "
                + "compare the clocks"
        }
        return "the server's certificate was not issued by a valid authority \(trusted)"
    }

    /// The server sent an alert.
    private func rejected(_ name: String) -> String {
        guard let own = tls.certificate else {
            return "the server asks for a client certificate, or rejects the connection (\(name)): set "
                + "--redis-certificate and --redis-key"
        }
        return "the server rejects the connection with the certificate in \(own) (\(name))"
    }

    /// Such as ` but for a.example, b.example`.
    private var names: String {
        guard let certificate else { return "" }
        var names: [String] = []
        for name in certificate._subjectAlternativeNames() where names.count < 4 {
            let bytes = Array(name.contents)
            switch name.nameType {
            case .dnsName:
                let text = String(decoding: bytes.prefix(253), as: UTF8.self)
                names.append(String(text.filter { $0.isASCII && !$0.isWhitespace && $0 >= " " }))
            case .ipAddress where bytes.count == 4: names.append(bytes.map { "\($0)" }.joined(separator: "."))
            default: break
            }
        }
        return names.isEmpty ? "" : " but for \(names.joined(separator: ", "))"
    }

    /// BoringSSL's own word, such as `WRONG_VERSION_NUMBER`, out of `error:1000:SSL routines:f:WORD at file:line`.
    static func name(of error: any Error) -> String {
        let text = "\(error)"
        guard let place = text.firstRange(of: " at ") else {
            return text.firstRange(of: "EOF during handshake") == nil ? text : "the connection closed in the handshake"
        }
        return text[..<place.lowerBound].split(separator: ":").last.map(String.init) ?? text
    }

    private static func span(_ seconds: Int) -> String {
        switch seconds {
        case ..<120: "\(max(1, seconds)) s"
        case ..<7_200: "\(seconds / 60) min"
        case ..<172_800: "\(seconds / 3_600) h"
        default: "\(seconds / 86_400) days"
        }
    }
}
