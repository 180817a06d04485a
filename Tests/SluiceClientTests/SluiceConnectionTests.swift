import SluiceClient
import SluiceProtocol
import Support
import Testing

@Suite struct SluiceConnectionTests {
    /// However busy the machine is, what is to come comes in this time.
    private func connect(_ server: StubServer) async throws -> SluiceConnection {
        try await SluiceConnection.connect(path: server.path, timeout: .seconds(300), requestTimeout: .seconds(300))
    }

    @Test func sendsWordsAndReadsReplies() async throws {
        let replies = [
            "+OK\r\n", ":42\r\n", "$-1\r\n", "*3\r\n:1\r\n$1\r\na\r\n-ERR x y\r\n",
            "%1\r\n+a\r\n#t\r\n", ">1\r\n+news\r\n,0.5\r\n",
        ]
        try await StubServer.with({ .drip(replies[Int($0[1])!]) }) { server in
            let sluice = try await connect(server)
            #expect(try await sluice.send(["GO", "0"]) == .string("OK"))
            #expect(try await sluice.send(["GO", "1"]).integer == 42)
            #expect(try await sluice.send(["GO", "2"]) == .null)
            let array = try await sluice.send(["GO", "3"])
            #expect(array.array == [.integer(1), .string("a"), .error(code: "ERR", message: "x y")])
            #expect(
                try await sluice.send(["GO", "4"]) == .map([.init(key: .string("a"), value: .boolean(true))]))
            #expect(try await sluice.send(["GO", "5"]) == .double(0.5))
            await sluice.close()
        }
    }

    @Test func checkSendsItsOptions() async throws {
        try await StubServer.with({ words in
            guard words.count == 3 else { return .answer("-BADARG \(words.joined(separator: " "))\r\n") }
            return .answer("-ERR \(words.joined(separator: " "))\r\n")
        }) { server in
            let sluice = try await connect(server)
            await #expect(throws: SluiceError.server(code: "ERR", message: "CHECK g t")) {
                try await sluice.check(grant: "g", tool: "t")
            }
            let options = CheckOptions(
                cost: 5, server: "srv", session: "s", attributes: [.init(name: "n", value: "v")], reserve: true,
                id: "k",
                approved: true, trace: true)
            let words = "CHECK g t COST 5 SERVER srv SESSION s ATTR n v RESERVE ID k APPROVED TRACE"
            await #expect(throws: SluiceError.server(code: "BADARG", message: words)) {
                try await sluice.check(grant: "g", tool: "t", options: options)
            }
            await #expect(throws: SluiceError.server(code: "ERR", message: "PEEK g t")) {
                try await sluice.peek(grant: "g", tool: "t")
            }
        }
    }

    @Test(arguments: [2, 3]) func checkReadsDecisions(_ version: Int) async throws {
        let version = try #require(RESPVersion(rawValue: version))
        let fields = DecisionFields(
            allowed: false, limit: 10, remaining: 0, retryAfterMs: 2500, resetMs: 60_000, verdict: .limit, rule: "/r",
            source: .cache, message: "No.", waitMs: 2500, reservation: "",
            trace: [TraceEntry(rule: "/r", windowStartMs: 7, used: 10, max: 10)])
        let granted = DecisionFields(allowed: true, verdict: .allow, rule: "/x", source: .policy, reservation: "f00d")
        try await StubServer.with({ .drip(StubServer.decision($0[0] == "CHECK" ? fields : granted, version)) }) {
            server in
            let sluice = try await connect(server)
            let denied = try await sluice.check(grant: "g", tool: "t", options: .init(reserve: true, trace: true))
            #expect(!denied.allowed)
            #expect([denied.limit, denied.remaining, denied.retryAfterMs, denied.resetMs] == [10, 0, 2500, 60_000])
            #expect(denied.verdict == .limit)
            #expect(denied.source == .cache)
            #expect(denied.rule == "/r")
            #expect(denied.message == "No. Try again in 3 seconds.")
            #expect(denied.reservation == nil)
            #expect(denied.trace.map(\.used) == [10])
            let allowed = try await sluice.peek(grant: "g", tool: "t")
            #expect(allowed.allowed)
            #expect(allowed.limit == -1)
            #expect(allowed.reservation == "f00d")
            #expect(allowed.trace.isEmpty)
        }
    }

    @Test func everyCallerGetsItsOwnReply() async throws {
        try await StubServer.with(echo) { server in
            let sluice = try await connect(server)
            try await withThrowingTaskGroup(of: Bool.self) { group in
                for number in 0..<500 {
                    group.addTask { try await sluice.send(["ECHO", "\(number)"]) == .string("ECHO \(number)") }
                }
                for try await isOwn in group { #expect(isOwn) }
            }
        }
    }

    @Test func aRequestThatWaitsTooLongFails() async throws {
        try await StubServer.with({ _ in .ignore }) { server in
            let sluice = try await SluiceConnection.connect(path: server.path, requestTimeout: .milliseconds(1))
            await #expect(throws: SluiceError.timedOut) { try await sluice.send(["SLOW"]) }
            await #expect(throws: SluiceError.timedOut) { try await sluice.check(grant: "g", tool: "t") }
        }
    }

    @Test func aRequestThatIsCancelledBeforehandFails() async throws {
        try await StubServer.with({ _ in .ignore }) { server in
            let sluice = try await connect(server)
            let task = Task { try await sluice.send(["SLOW"]) }
            task.cancel()
            let outcome = await task.result
            #expect(throws: SluiceError.cancelled) { try outcome.get() }
        }
    }

    @Test func aCancelledRequestKeepsItsPlace() async throws {
        let (arrivals, arrive) = AsyncStream.makeStream(of: [String].self)
        try await StubServer.with({ words in
            arrive.yield(words)
            // The answer to SLOW comes together with the one to the request behind it.
            return words == ["SLOW"] ? .ignore : .answer("+late\r\n+\(words[0])\r\n")
        }) { server in
            let sluice = try await connect(server)
            let slow = Task { try await sluice.send(["SLOW"]) }
            for await words in arrivals where words == ["SLOW"] { break }
            slow.cancel()
            let outcome = await slow.result
            #expect(throws: SluiceError.cancelled) { try outcome.get() }
            #expect(try await sluice.send(["NEXT"]) == .string("NEXT"))
        }
    }

    @Test func whatWaitsWhenTheServerClosesFails() async throws {
        try await StubServer.with({ _ in .close }) { server in
            let sluice = try await connect(server)
            await #expect(throws: SluiceError.closed) { try await sluice.send(["PING"]) }
            await #expect(throws: SluiceError.closed) { try await sluice.send(["PING"]) }
        }
    }

    @Test func whatWaitsWhenTheClientClosesFails() async throws {
        let (arrivals, arrive) = AsyncStream.makeStream(of: Void.self)
        try await StubServer.with({ _ in
            arrive.yield()
            return .ignore
        }) { server in
            let sluice = try await connect(server)
            let waiting = Task { try await sluice.send(["PING"]) }
            for await _ in arrivals { break }
            await sluice.close()
            await sluice.close()
            let outcome = await waiting.result
            #expect(throws: SluiceError.closed) { try outcome.get() }
        }
    }

    @Test func connectSaysWhatIsWrong() async throws {
        let path = "/tmp/sluice-no-such-folder/sluice.sock"
        let error = try await #require(throws: SluiceError.self) { try await SluiceConnection.connect(path: path) }
        guard case .connect(path, let reason) = error else {
            Issue.record("\(error)")
            return
        }
        #expect(reason.contains("No such file or directory"))
        #expect("\(error)".hasPrefix("cannot connect to \(path): "))
    }

    @Test(arguments: [
        ("?\r\n", SluiceError.malformedReply("expected the type of a reply, got byte 63")),
        ("*100000000\r\n", .malformedReply("expected at most 16777216 bytes")),
    ]) func garbageClosesTheConnection(_ bytes: String, _ error: SluiceError) async throws {
        try await StubServer.with({ _ in .answer(bytes) }) { server in
            let sluice = try await connect(server)
            await #expect(throws: error) { try await sluice.send(["PING"]) }
            await #expect(throws: SluiceError.closed) { try await sluice.send(["PING"]) }
        }
    }

    @Test(arguments: ["+OK\r\n", "*1\r\n:1\r\n", "*0\r\n", "%1\r\n+allowed\r\n+yes\r\n"])
    func aReplyThatIsNoDecisionIsRefused(_ bytes: String) async throws {
        try await StubServer.with({ $0 == ["PING"] ? .answer("+PONG\r\n") : .answer(bytes) }) { server in
            let sluice = try await connect(server)
            await #expect(throws: SluiceError.self) { try await sluice.check(grant: "g", tool: "t") }
            #expect(try await sluice.send(["PING"]) == .string("PONG"))
        }
    }

    @Test func anEmptyRequestIsNotSent() async throws {
        try await StubServer.with(echo) { server in
            let sluice = try await connect(server)
            await #expect(throws: SluiceError.badRequest("a request needs the name of a command")) {
                try await sluice.send([])
            }
        }
    }

    @Test func requestsWithoutRepliesAreBounded() async throws {
        try await StubServer.with({ _ in .ignore }) { server in
            let sluice = try await SluiceConnection.connect(path: server.path, requestTimeout: .seconds(600))
            let refused = await withTaskGroup(of: Bool.self) { group in
                for _ in 0...16_384 {
                    group.addTask {
                        do {
                            _ = try await sluice.send(["PING"])
                        } catch SluiceError.tooManyPending(16_384) {
                            // All the others fail when the connection closes.
                            await sluice.close()
                            return true
                        } catch {}
                        return false
                    }
                }
                return await group.reduce(0) { $0 + ($1 ? 1 : 0) }
            }
            #expect(refused == 1)
        }
    }
}

/// The echo of a request, as a bulk string.
private func echo(_ words: [String]) -> StubServer.Action {
    let text = words.joined(separator: " ")
    return .answer("$\(text.utf8.count)\r\n\(text)\r\n")
}
