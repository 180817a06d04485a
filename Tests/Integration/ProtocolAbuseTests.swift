import Foundation
import SluiceEngine
import Support
import Testing

extension Integration {
    /// What no proper client sends, and what clients do that are in trouble. Each time another connection goes on
    /// unharmed.
    @Suite struct ProtocolAbuse {
        static let max = 100_000
        static let policy = Policies.rate(max, per: Policies.longWindow)

        /// A sidecar, and another gateway that calls it all the while.
        private struct Stage {
            let redis: RedisProcess
            let sidecar: SidecarProcess
            private let traffic: Traffic

            init() async throws {
                redis = try await RedisProcess()
                sidecar = try await SidecarProcess(policy: ProtocolAbuse.policy, over: redis, budget: "10s")
                try await sidecar.waitUntilShared()
                traffic = Traffic(to: [sidecar], grants: [Grants.next("bystander")], clients: 1)
            }

            /// The other gateway had all its answers, and of all connections only these are left.
            func end(_ clients: RedisClient...) async throws {
                let tally = try #require(try await traffic.end().first)
                #expect(tally.errors.isEmpty)
                #expect(Set(tally.sources.keys) == ["shared"])
                let client = try sidecar.client()
                try await waitUntil("the connections are closed") {
                    try client.info("connected_clients") == "\(1 + clients.count)"
                }
                #expect(sidecar.process.isRunning)
                #expect(!sidecar.log.contains("error"))
            }
        }

        static let malformed: [(bytes: String, error: String)] = [
            ("*x\r\n", "ERR Protocol error: invalid multibulk length"),
            ("*-2\r\n", "ERR Protocol error: invalid multibulk length"),
            ("*99999999999999999999\r\n", "TOOBIG Protocol error: too many arguments"),
            ("*129\r\n", "TOOBIG Protocol error: too many arguments"),
            ("*1\r\n:1\r\n", "ERR Protocol error: expected '$', got ':'"),
            ("*1\r\n$-1\r\n", "ERR Protocol error: invalid bulk length"),
            ("*1\r\n$4\r\nPINGxx", "ERR Protocol error: expected CRLF"),
            ("*1\r\n$70000\r\n", "TOOBIG Protocol error: too big request"),
            ("*2\r\n$60000\r\n" + String(repeating: "a", count: 60_000) + "\r\n$6000\r\n", "TOOBIG Protocol error"),
            (String(repeating: "a", count: 70_000), "TOOBIG Protocol error: too big inline request"),
            (String(repeating: "a ", count: 129) + "\r\n", "TOOBIG Protocol error: too many arguments"),
            ("PING \"unbalanced\r\n", "ERR Protocol error: unbalanced quotes"),
            (String(repeating: "*", count: 40), "ERR Protocol error: invalid multibulk length"),
        ]

        /// An HTTP client gets an answer in HTTP, and the connection is closed.
        @Test(arguments: [
            "GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n", "GET /metrics?q=\"a HTTP/1.0\r\n\r\n",
            "POST /check HTTP/1.1\nContent-Length: 2\n\n{}", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ])
        func httpIsRecognized(request: String) async throws {
            let sidecar = try await SidecarProcess(policy: Self.policy, redis: "none")
            let client = try sidecar.client()
            try client.send(request)
            let answer = try client.untilClosed()
            let parts = answer.split(separator: "\r\n\r\n", maxSplits: 1).map(String.init)
            try #require(parts.count == 2)
            #expect(parts[0].hasPrefix("HTTP/1.1 400 Bad Request\r\n"))
            #expect(parts[0].contains("\r\nContent-Length: \(parts[1].utf8.count)\r\n"))
            #expect(parts[0].hasSuffix("\r\nConnection: close"))
            #expect(
                parts[1]
                    == "this socket speaks RESP, the protocol of Redis, and not HTTP: use a Redis client, such as "
                    + "redis-cli -s SOCKET PING\n")
            // As tool or grant, such words are words like others.
            let other = try sidecar.client()
            try other.send("CHECK GET HTTP/1.1\r\n")
            #expect(try CheckReply(other.answer()).verdict == "deny")
        }

        /// What came before is answered, then the error, and then the connection is closed.
        @Test func aMalformedFrameIsReportedAndTheConnectionClosed() async throws {
            let stage = try await Stage()
            let grant = Grants.next()
            for (index, (bytes, error)) in Self.malformed.enumerated() {
                let client = try stage.sidecar.client()
                let before = RedisClient.frame(["CHECK", grant, "run"]) + RedisClient.frame(["PING"])
                let after = RedisClient.frame(["CHECK", grant, "run"])
                let answers = try client.exchange(before + Array(bytes.utf8) + after, answers: 3)
                #expect(try CheckReply(answers[0]).remaining == Self.max - 1 - index)
                #expect(answers[1] == .string("PONG"))
                guard case .error(let text) = answers[2] else { throw SupportError("no error: \(answers[2])") }
                #expect(text.hasPrefix(error))
                #expect(client.isClosedByServer())
            }
            try await stage.end()
        }

        @Test func aWrongArgumentIsReportedAndTheConnectionGoesOn() async throws {
            let stage = try await Stage()
            let client = try stage.sidecar.client()
            let long = String(repeating: "g", count: 257)
            let wrong: [(words: [String], error: String)] = [
                (["NOSUCH"], "ERR unknown command 'NOSUCH'"), (["CHECK", "g"], "ERR wrong number of arguments"),
                (["CHECK", "", "run"], "BADARG the grant is empty"),
                (["CHECK", long, "run"], "BADARG the grant has 257"),
                (["CHECK", "g", "run", "COST", "-1"], "BADARG COST is '-1'"),
                (["CHECK", "g", "run", "COST", "9999999999999999999"], "BADARG COST is"),
                (["CHECK", "g", "run", "COST"], "BADARG COST has no value"),
                (["CHECK", "g", "run", "FAST"], "BADARG unknown option 'FAST'"),
                (["CHECK", "g\0", "run"], "BADARG the grant has a NUL"),
                (["PEEK", "g", "run", "RESERVE"], "BADARG PEEK"),
                (["CHECK", "g", "run", "RESERVE", "RESERVE"], "BADARG RESERVE is given twice"),
                (["HELLO", "4"], "NOPROTO"),
                (["SELECT", "2"], "ERR DB index"),
            ]
            for (words, error) in wrong {
                guard case .error(let text) = try client.command(words) else {
                    throw SupportError("no error: \(words)")
                }
                #expect(text.hasPrefix(error))
            }
            let bad = Array("*3\r\n$5\r\nCHECK\r\n$2\r\n".utf8) + [0xff, 0xfe] + Array("\r\n$3\r\nrun\r\n".utf8)
            guard case .error(let text) = try client.exchange(bad, answers: 1)[0] else {
                throw SupportError("no error")
            }
            #expect(text.hasPrefix("BADARG the grant is not valid UTF-8"))
            #expect(try client.check(Grants.next(), "run").allowed)
            try await stage.end(client)
        }

        /// A frame is cut off by its sender's end: nothing of it counts, and nothing is answered.
        @Test func aFrameThatIsCutOffIsNothing() async throws {
            let stage = try await Stage()
            let grant = Grants.next()
            let frame = RedisClient.frame(["CHECK", grant, "run"])
            for length in 1..<frame.count {
                let client = try stage.sidecar.client()
                try client.send(Array(frame.prefix(length)))
                if length % 2 == 0 {
                    client.closeWriting()
                    #expect(client.isClosedByServer())
                }
            }
            #expect(try stage.sidecar.client().peek(grant, "run", "TRACE").trace?.first?.used == 0)
            try await stage.end()
        }

        /// Thousands of requests in one write, far more than may wait at once, come back in their order.
        @Test func thousandsOfRequestsInOneWriteAreAnsweredInOrder() async throws {
            let stage = try await Stage()
            let grant = Grants.next()
            let client = try stage.sidecar.client()
            let count = 5_000
            let words = (1...count).flatMap { [["CHECK", grant, "run"], ["ECHO", "\($0)"]] }
            let answers = try client.pipeline(words)
            for index in 1...count {
                #expect(try CheckReply(answers[index * 2 - 2]).remaining == Self.max - index)
                #expect(answers[index * 2 - 1] == .string("\(index)"))
            }
            try await stage.end(client)
        }

        /// A client that has said all and closes its sending side gets every answer, also those for which there was no
        /// room when the end of its input came.
        @Test func aHalfClosedConnectionGetsItsAnswers() async throws {
            let stage = try await Stage()
            let grant = Grants.next()
            let client = try stage.sidecar.client()
            let count = 2_500
            stage.redis.stop()
            try client.send((1...count).flatMap { _ in RedisClient.frame(["CHECK", grant, "run"]) })
            client.closeWriting()
            try await waitUntil("as many wait as may") { try stage.sidecar.figure("waiting") >= 1_024 }
            stage.redis.continue()
            for index in 1...count { #expect(try CheckReply(client.answer()).remaining == Self.max - index) }
            #expect(client.isClosedByServer())
            try await stage.end()
        }

        /// Replies that nobody reads do not pile up: what a client may hold is bounded, however long the replies are.
        @Test func aClientThatDoesNotReadHoldsLittle() async throws {
            let stage = try await Stage()
            let watcher = try stage.sidecar.client()
            let before = try residentKilobytes(stage.sidecar)
            let bytes = Array(repeating: RedisClient.frame(["COMMAND", "DOCS"]), count: 500).flatMap(\.self)
            let clients = try (1...3).map { _ in try stage.sidecar.client() }
            for client in clients {
                var refusals = 0
                while refusals < 3 {
                    refusals = client.sendSome(bytes) == 0 ? refusals + 1 : 0
                    _ = try watcher.info("uptime_ms")
                }
            }
            #expect(try residentKilobytes(stage.sidecar) - before < 40_000)
            // A client that begins to read still gets it.
            for _ in 1...100 { #expect(try clients[0].answer()["check"] != nil) }
            try await stage.end(clients[0], clients[1], clients[2], watcher)
        }

        /// As redis-py and others do it: a pipeline is written to its end before anything is read. Its denials are far more than
        /// the sockets hold.
        @Test func twoThousandDenialsAreWrittenBeforeAnyIsRead() async throws {
            let stage = try await Stage()
            let client = try stage.sidecar.client()
            let grant = Grants.next() + String(repeating: "x", count: 200)
            #expect(try CheckReply(client.command("CHECK", grant, "run", "COST", "\(Self.max)")).allowed)
            let count = 2_000
            try client.send((1...count).flatMap { _ in RedisClient.frame(["CHECK", grant, "run"]) })
            for _ in 1...count { #expect(try CheckReply(client.answer()).verdict == "limit") }
            try await stage.end(client)
        }

        /// A pipeline whose answers are more than the sidecar keeps: both sides would wait for each other.
        @Test func aPipelineThatIsTooLongIsRejected() async throws {
            let stage = try await Stage()
            let client = try stage.sidecar.client()
            let watcher = try stage.sidecar.client()
            let bytes = Array(repeating: RedisClient.frame(["CHECK", Grants.next(), "run"]), count: 100).flatMap(\.self)
            try await waitUntil("nothing more is read, and the connection is closed") {
                _ = client.sendSome(bytes)
                return try watcher.info("unread_closed_connections") == "1"
            }
            let text = try client.untilClosed()
            #expect(text.hasPrefix("*9\r\n:1\r\n"))
            #expect(text.suffix(200).contains("\r\n-TOOBIG pipeline is too long: 1024 KiB of answers are not read"))
            #expect(stage.sidecar.log.contains("a client sends more and does not read its answers"))
            try await stage.end(watcher)
        }

        private func residentKilobytes(_ sidecar: SidecarProcess) throws -> Int {
            let status = try String(contentsOfFile: "/proc/\(sidecar.pid)/status", encoding: .utf8)
            let line = status.split(separator: "\n").first { $0.hasPrefix("VmRSS:") }
            guard let number = line?.split(whereSeparator: \.isWhitespace).dropFirst().first.flatMap({ Int($0) }) else {
                throw SupportError("no VmRSS")
            }
            return number
        }

        /// More connections than the files that a process may open at first.
        @Test func aThousandConnectionsAtOnce() async throws {
            let redis = try await RedisProcess()
            let sidecar = try await SidecarProcess(
                policy: Self.policy, redis: redis.url, store: redis, wrapper: ["prlimit", "--nofile=256:4096"])
            try await sidecar.waitUntilShared()
            let grant = Grants.next()
            do {
                let clients = try (1...1_000).map { _ in try sidecar.client() }
                for client in clients { try client.send(RedisClient.frame(["CHECK", grant, "run"])) }
                let left = try clients.map { try CheckReply($0.answer()).remaining }
                #expect(Set(left) == Set(Self.max - 1_000..<Self.max))
                #expect(try sidecar.figure("connected_clients") == 1_001)
            }
            let client = try sidecar.client()
            try await waitUntil("the connections are closed") { try client.info("connected_clients") == "1" }
        }

        /// Where the system permits few files, the last connections are refused, and the others are served.
        @Test func tooManyConnectionsAreRefused() async throws {
            let sidecar = try await SidecarProcess(
                policy: Self.policy, redis: "none", wrapper: ["prlimit", "--nofile=164:164"])
            let most = try sidecar.figure("max_connections")
            #expect(most == 100 && sidecar.log.contains("open files"))
            try await waitUntil("the first is gone") { try sidecar.figure("connected_clients") == 1 }
            let first = try sidecar.client()
            let others = try (2...most).map { _ in try sidecar.client() }
            for client in others { #expect(try client.command("PING") == .string("PONG")) }
            for _ in 1...300 {
                let refused = try sidecar.client()
                guard case .error(let text) = try refused.answer() else { throw SupportError("not refused") }
                #expect(text.hasPrefix("BUSY too many connections"))
                #expect(refused.isClosedByServer())
            }
            #expect(try first.check(Grants.next(), "run").allowed)
            withExtendedLifetime(others) {}
        }

        /// Bytes by chance, some of which begin as a frame does.
        @Test func randomBytesHarmNobody() async throws {
            let stage = try await Stage()
            var random = SeededRandom(seed: 20_240_607)
            let starts = ["", "*", "*3\r\n", "*3\r\n$5\r\nCHECK\r\n$", "CHECK ", "\r\n", "*1\r\n$4\r\nPING\r\n"]
            for _ in 1...300 {
                let client = try stage.sidecar.client()
                let start = starts.randomElement(using: &random)!
                let noise = (0..<Int.random(in: 1...2_000, using: &random)).map { _ in
                    UInt8.random(in: 0...255, using: &random)
                }
                // It may be closed before it has taken everything.
                _ = client.sendSome(Array(start.utf8) + noise)
                client.closeWriting()
                #expect(client.isClosedByServer())
            }
            try await stage.end()
        }
    }
}
