import Foundation
import Support
import Testing

extension Integration {
    /// Redis over TLS: whom a sidecar trusts, and what it says of a server that it does not.
    @Suite(.enabled(if: Certificates.isOpenSSLThere, "openssl is needed to make certificates"))
    struct TLS {
        /// A Redis that also listens on a port with TLS.
        private struct Stage {
            let certificates: Certificates
            let redis: RedisProcess
            let port: Int

            init(server: String = "server", clients: Bool = false) async throws {
                certificates = try Certificates()
                try await certificates.makeAuthority("ca")
                try await certificates.makeAuthority("other")
                try await certificates.make("server", by: "ca", for: "DNS:localhost,IP:127.0.0.1")
                try await certificates.make("elsewhere", by: "ca", for: "DNS:redis.internal")
                try await certificates.make("old", by: "ca", for: "DNS:localhost", days: -1)
                try await certificates.make("client", by: "ca", for: "DNS:client")
                try await certificates.make("stranger", by: "other", for: "DNS:client")
                port = try LoopbackPort.free()[0]
                redis = try await RedisProcess(configuration: [
                    "tls-port \(port)", "tls-cert-file \(certificates.path("\(server).crt"))",
                    "tls-key-file \(certificates.path("\(server).key"))",
                    "tls-ca-cert-file \(certificates.path("ca.crt"))", "tls-auth-clients \(clients ? "yes" : "no")",
                ])
            }

            func sidecar(
                _ host: String = "localhost", scheme: String = "rediss", _ arguments: [String] = [],
                authority: String? = "ca"
            ) async throws -> SidecarProcess {
                let trust = authority.map { ["--redis-ca", certificates.path("\($0).crt")] } ?? []
                return try await SidecarProcess(
                    policy: Policies.seed, redis: "\(scheme)://\(host):\(port)", store: redis,
                    arguments: trust + arguments)
            }

            func own(_ name: String) -> [String] {
                [
                    "--redis-certificate", certificates.path("\(name).crt"), "--redis-key",
                    certificates.path("\(name).key"),
                ]
            }
        }

        private func expectReason(_ words: String, of sidecar: SidecarProcess) async throws {
            try await waitUntil("the log says: \(words)\n\(sidecar.log)") { sidecar.log.contains(words) }
            let client = try sidecar.client()
            #expect(try client.info("redis_last_error")?.contains(words) == true)
            #expect(try client.check(Grants.next(), "opencode_run").source == "local")
        }

        @Test func aVerifiedServerIsUsedForEverything() async throws {
            let stage = try await Stage()
            for host in ["localhost", "127.0.0.1"] {
                let sidecar = try await stage.sidecar(host)
                try await sidecar.waitUntilShared()
                try await sidecar.waitUntilSubscribed()
                let grant = Grants.next()
                let client = try sidecar.client()
                #expect(try client.check(grant, "opencode_run").source == "shared")
                #expect(try client.command("COUNTERS", "GRANT", grant)["counters"]?.elements?.count == 1)
            }
        }

        @Test func anotherAuthorityIsNotTrusted() async throws {
            let stage = try await Stage()
            let other = try await stage.sidecar(authority: "other")
            try await expectReason(
                "not issued by a valid authority in \(stage.certificates.path("other.crt"))", of: other)
            let system = try await stage.sidecar(authority: nil)
            try await expectReason("not issued by a valid authority of this system", of: system)
        }

        @Test func anExpiredCertificateIsNamed() async throws {
            let stage = try await Stage(server: "old")
            try await expectReason("the server's certificate expired", of: try await stage.sidecar())
        }

        @Test func anotherNameIsRejectedUnlessItIsGiven() async throws {
            let stage = try await Stage(server: "elsewhere")
            try await expectReason("is not for localhost but for redis.internal", of: try await stage.sidecar())
            try await expectReason("is not for 127.0.0.1 but for", of: try await stage.sidecar("127.0.0.1"))
            let named = try await stage.sidecar("localhost", ["--redis-server-name", "redis.internal"])
            try await named.waitUntilShared()
        }

        @Test func aServerWithoutTLSAndOneWithItAreNamed() async throws {
            let stage = try await Stage()
            try await expectReason(
                "if it speaks TLS on this port, use rediss://",
                of: try await stage.sidecar(scheme: "redis", authority: nil))
            let port = try LoopbackPort.free()[0]
            let plain = try await RedisProcess(configuration: ["port \(port)"])
            let sidecar = try await SidecarProcess(
                policy: Policies.seed, redis: "rediss://127.0.0.1:\(port)", store: plain,
                arguments: ["--redis-ca", stage.certificates.path("ca.crt")])
            // Redis answers if the first bytes of TLS hold a line feed by chance, and waits for one otherwise.
            try await waitUntil("the log says why\n\(sidecar.log)") {
                sidecar.log.contains("not speak TLS on this port")
            }
        }

        @Test func aServerThatAsksForACertificateGetsIt() async throws {
            let stage = try await Stage(clients: true)
            try await expectReason("set --redis-certificate and --redis-key", of: try await stage.sidecar())
            let stranger = try await stage.sidecar("localhost", stage.own("stranger"))
            try await expectReason("rejects the connection with the certificate in", of: stranger)
            try await stage.sidecar("localhost", stage.own("client")).waitUntilShared()
        }

        @Test func replacedFilesCountFromTheNextConnectionOn() async throws {
            let stage = try await Stage(clients: true)
            let sidecar = try await stage.sidecar("localhost", stage.own("stranger"))
            try await expectReason("rejects the connection", of: sidecar)
            try stage.certificates.replace("stranger", with: "client")
            try await sidecar.waitUntilShared()
            // A new authority on both sides: the old one is not trusted any more.
            try await stage.certificates.make("next", by: "other", for: "DNS:localhost")
            try stage.redis.command(
                "CONFIG", "SET", "tls-cert-file", stage.certificates.path("next.crt"), "tls-key-file",
                stage.certificates.path("next.key"))
            try stage.redis.command("CLIENT", "KILL", "TYPE", "normal")
            try await expectReason("not issued by a valid authority", of: sidecar)
            try stage.certificates.replace("ca", with: "other")
            try await sidecar.waitUntilShared()
        }

        @Test func wrongSettingsAreNamedAtTheStart() async throws {
            let certificates = try Certificates()
            try await certificates.makeAuthority("ca")
            try await certificates.make("client", by: "ca", for: "DNS:client")
            let (ca, own, key) = (
                certificates.path("ca.crt"), certificates.path("client.crt"), certificates.path("client.key")
            )
            let nothing = try certificates.folder.write("nothing\n", to: "nothing")
            let cases: [(arguments: [String], words: String)] = [
                (["--redis", "redis://h", "--redis-ca", ca], "--redis-ca: found \"\(ca)\" without TLS"),
                (["--redis", "rediss://h", "--redis-certificate", own], "--redis-certificate: found alone"),
                (["--redis", "rediss://h", "--redis-key", key], "--redis-key: found alone"),
                (["--redis", "rediss://h", "--redis-ca", "/none"], "--redis-ca: /none: cannot be opened"),
                (["--redis", "rediss://h", "--redis-ca", nothing], "\(nothing): holds no certificate in PEM form"),
                (
                    ["--redis", "rediss://h", "--redis-certificate", own, "--redis-key", nothing],
                    "\(nothing): holds no private key"
                ),
                (
                    [
                        "--redis", "rediss://h", "--redis-certificate", own, "--redis-key",
                        certificates.path("ca.key"),
                    ], "is not the key of the certificate in \(own)"
                ),
                (
                    ["--redis", "rediss://h", "--redis-server-name", "127.0.0.1"],
                    "--redis-server-name: found \"127.0.0.1\", expected a name"
                ),
            ]
            for (arguments, words) in cases {
                let place = try Place()
                let errors = try await SidecarProcess.startErrors(place.arguments + arguments)
                #expect(errors.last?.contains(words) == true, "\(errors)")
            }
        }
    }
}
