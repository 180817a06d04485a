import Foundation
import SluiceClient
import Support
import Testing

extension Integration {
    /// From the start to the end of a sidecar, and who owns its socket meanwhile.
    @Suite struct Lifecycle {
        @Test func logsWhenItIsReady() async throws {
            let redis = try await RedisProcess()
            let sidecar = try await SidecarProcess(policy: Policies.seed, over: redis)
            let line = try #require(sidecar.log.split(whereSeparator: \.isNewline).first { $0.contains(" ready") })
            for word in ["socket=\(sidecar.socketPath)", "counting=shared", "pid=\(sidecar.pid)", "policy="] {
                #expect(line.contains(word))
            }
            #expect(try await sidecar.process.terminate() == .exited(status: 0))
            #expect(sidecar.log.contains("draining") && sidecar.log.contains("stopped"))
            #expect(sidecar.process.output == "")
        }

        private static func lines(_ sidecar: SidecarProcess, _ words: String) -> Int {
            sidecar.log.split(whereSeparator: \.isNewline).count { $0.contains(words) }
        }

        /// Something tidies up and removes the socket: connections go on, and new ones find it again. It ends as ever.
        @Test func aSocketThatWasRemovedIsMadeAgain() async throws {
            let sidecar = try await SidecarProcess(
                policy: Policies.seed, redis: "none", arguments: ["--socket-mode", "0600"])
            let client = try sidecar.client()
            try #require(unlink(sidecar.socketPath) == 0)
            try await waitUntil("it is made again\n\(sidecar.log)") { try client.info("socket_remakes") == "1" }
            #expect(try sidecar.client().command("PING").text == "PONG")
            var status = stat()
            #expect(lstat(sidecar.socketPath, &status) == 0 && status.st_mode & 0o777 == 0o600)
            #expect(Self.lines(sidecar, "has been made again") == 1)
            #expect(try client.info("socket_trouble") == "")
            #expect(try await sidecar.process.terminate() == .exited(status: 0))
            #expect(!FileManager.default.fileExists(atPath: sidecar.socketPath))
        }

        /// Another process listens at the path: it keeps the path as long as it listens, and that is reported once.
        @Test func aSocketThatWasReplacedIsLeftAlone() async throws {
            let sidecar = try await SidecarProcess(policy: Policies.seed, redis: "none")
            let client = try sidecar.client()
            let path = sidecar.folder.path("other.sock")
            let other = try SidecarProcess.launch([
                "--socket", path, "--policy", sidecar.folder.path("policy.json"),
            ])
            try await SidecarProcess.waitUntilReady(other)
            try #require(rename(path, sidecar.socketPath) == 0)
            try await waitUntil("it is logged\n\(sidecar.log)") {
                try client.info("socket_trouble")?.contains("another sluiced is listening there") == true
            }
            #expect(try sidecar.client().info("process_id") == "\(other.pid)")
            try await other.terminate()
            try await waitUntil("it is made again\n\(sidecar.log)") { try client.info("socket_remakes") == "1" }
            #expect(try sidecar.client().info("process_id") == "\(sidecar.pid)")
            #expect(Self.lines(sidecar, "another sluiced listens at the socket now") == 1)
        }

        /// A client finds the next sidecar by itself, and what was not answered is not charged twice.
        @Test func aSwiftClientGoesOnWithTheNextSidecar() async throws {
            let redis = try await RedisProcess()
            let sidecar = try await SidecarProcess(policy: Policies.broad, over: redis)
            let sluice = Sluice(path: sidecar.socketPath, timeout: .seconds(60))
            func check() async throws(SluiceError) -> Int64 {
                try await sluice.check(grant: "alice", tool: "run").remaining
            }
            #expect(try await check() == 9)
            try await sidecar.process.end()
            await #expect(throws: SluiceError.self) { try await check() }
            let next = try SidecarProcess.launch([
                "--socket", sidecar.socketPath, "--policy", sidecar.folder.path("policy.json"), "--redis", redis.url,
                "--budget", "5s",
            ])
            try await SidecarProcess.waitUntilReady(next)
            var remaining: Int64?
            try await waitUntil("it is connected again") {
                remaining = try? await check()
                return remaining != nil
            }
            #expect(remaining == 8)
            try await next.terminate()
        }

        @Test func logsAsJSON() async throws {
            let sidecar = try await SidecarProcess(
                policy: Policies.seed, redis: "none", arguments: ["--log-format", "json"])
            try await sidecar.process.terminate()
            for line in sidecar.log.split(whereSeparator: \.isNewline) {
                let object = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any]
                #expect(object?["time_ms"] is Int && object?["message"] is String && object?["level"] is String)
            }
        }

        /// Checks that wait for Redis when SIGTERM comes get their answers, and nothing is cut short.
        @Test(arguments: [SIGTERM, SIGINT, SIGQUIT])
        func answersWhatIsInFlightBeforeItEnds(signal: Int32) async throws {
            let redis = try await RedisProcess()
            let sidecar = try await SidecarProcess(policy: Policies.rate(10_000, per: Policies.longWindow), over: redis)
            try await sidecar.waitUntilShared()
            let (client, idle, watcher) = (try sidecar.client(), try sidecar.client(), try sidecar.client())
            let grant = Grants.next()
            redis.stop()
            let count = 500
            try client.send(Array(repeating: RedisClient.frame(["CHECK", grant, "run"]), count: count).flatMap(\.self))
            try await waitUntil("the checks wait") { try watcher.info("waiting") == "\(count)" }
            sidecar.process.signal(signal)
            try await waitUntil("it drains") { sidecar.log.contains("draining") }
            #expect(idle.isClosedByServer())
            #expect(throws: SupportError.self) { try sidecar.client() }
            redis.continue()
            for index in 1...count {
                let reply = try CheckReply(client.answer())
                #expect(reply.source == "shared" && reply.remaining == 10_000 - index)
            }
            #expect(client.isClosedByServer())
            #expect(try await sidecar.process.wait() == .exited(status: 0))
            #expect(!FileManager.default.fileExists(atPath: sidecar.socketPath))
        }

        /// Redis hangs and does not come back: the checks are answered locally, and it ends all the same.
        @Test func endsThoughRedisHangs() async throws {
            let redis = try await RedisProcess()
            let sidecar = try await SidecarProcess(policy: Policies.seed, over: redis, budget: "500ms")
            try await sidecar.waitUntilShared()
            let client = try sidecar.client()
            redis.stop()
            try client.send(RedisClient.frame(["CHECK", Grants.next(), "opencode_run"]))
            try await waitUntil("the check waits") { try sidecar.client().info("waiting") == "1" }
            sidecar.process.signal(SIGTERM)
            #expect(try CheckReply(client.answer()).source == "local")
            #expect(try await sidecar.process.wait() == .exited(status: 0))
        }

        /// A client that does not read its answers cannot keep it from ending.
        @Test func endsThoughAClientDoesNotRead() async throws {
            let sidecar = try await SidecarProcess(policy: Policies.seed, redis: "none")
            let client = try sidecar.client()
            let bytes = Array(repeating: RedisClient.frame(["COMMAND", "DOCS"]), count: 500).flatMap(\.self)
            let watcher = try sidecar.client()
            var refusals = 0
            while refusals < 3 {
                refusals = client.sendSome(bytes) == 0 ? refusals + 1 : 0
                // Its answer shows that the sidecar has come round to look at everyone since.
                _ = try watcher.info("uptime_ms")
            }
            sidecar.process.signal(SIGTERM)
            #expect(try await sidecar.process.wait(timeout: .seconds(20)) == .exited(status: 0))
            withExtendedLifetime(client) {}
        }

        /// A gateway that starts opens all its connections at once, while the sidecar may be busy.
        @Test func manyMayWaitToBeAccepted() async throws {
            let sidecar = try await SidecarProcess(policy: Policies.seed, redis: "none")
            let most = try #require(
                Int(String(contentsOfFile: "/proc/sys/net/core/somaxconn", encoding: .utf8).split(separator: "\n")[0]))
            _ = try sidecar.client().command("PING")
            sidecar.process.signal(SIGSTOP)
            try await waitUntil("it has stopped") {
                let status = try String(contentsOfFile: "/proc/\(sidecar.pid)/status", encoding: .utf8)
                return status.contains("State:\tT")
            }
            let waiting = try WaitingConnections(to: sidecar.socketPath, atMost: 1_100)
            sidecar.process.signal(SIGCONT)
            // The kernel's queue holds one more than its limit.
            #expect(waiting.count == min(1_024, most) + 1)
        }

        /// The log's reader has stopped: the sidecar works, ends, and reports the lost lines later.
        @Test(arguments: ["text", "json"])
        func aLogThatNobodyReadsHoldsUpNothing(format: String) async throws {
            let place = try Place()
            let log = try FullPipe(place.folder.path("log"))
            let program = try SidecarProcess.program()
            let socketPath = place.socketPath
            let process = try ChildProcess(
                "/bin/sh",
                [
                    "-c", "exec \"$0\" \"$@\" 2>\(place.folder.path("log"))", program, "--socket", socketPath,
                    "--policy",
                    place.policy,
                ]
                    // The event loop itself reports that this Redis is missing.
                    + ["--log-format", format, "--redis", "redis://127.0.0.1:1"])
            try await waitUntil("it answers") {
                (try? RedisClient(path: socketPath).command("PING")) == .string("PONG")
            }
            #expect(log.read().allSatisfy { $0 == "." })
            process.signal(SIGHUP)
            try await waitUntil("it has read the policy again") {
                try RedisClient(path: socketPath).info("policy_reloads") == "1"
            }
            try await waitUntil("it says so, and what was lost") {
                log.text.contains("policy reloaded") && log.text.contains("lines of the log were dropped")
            }
            log.fill()
            #expect(try await process.terminate() == .exited(status: 0))
        }

        @Test func aLiveSocketIsNotTakenOver() async throws {
            let sidecar = try await SidecarProcess(policy: Policies.seed, redis: "none")
            let client = try sidecar.client()
            let second = try await SidecarProcess.startErrors(
                [
                    "--socket", sidecar.socketPath, "--policy", sidecar.folder.path("policy.json"),
                ], status: 69)
            #expect(
                second.last
                    == "\(sidecar.socketPath): another sluiced is listening there, stop it first or choose "
                    + "another --socket")
            #expect(try client.check(Grants.next(), "opencode_run").allowed)
            #expect(try sidecar.client().check(Grants.next(), "opencode_run").allowed)
        }

        /// One after the other takes the place of the one before, which then ends: nobody is turned away.
        @Test func aRunningSidecarIsTakenOver() async throws {
            let place = try Place(policy: Policies.rate(1_000_000_000, per: Policies.longWindow))
            let http = place.folder.path("h.sock")
            let arguments = place.arguments + ["--take-over", "--http-socket", http, "--socket-mode", "0600"]
            var running = try SidecarProcess.launch(arguments)
            try await SidecarProcess.waitUntilReady(running)
            let callers = PersistentCallers()
            async let asked: Void = callers.ask(place.socketPath)
            do {
                defer { callers.stop() }
                for _ in 1...5 {
                    try await callers.waitForAnswers(300)
                    let next = try SidecarProcess.launch(arguments)
                    try await SidecarProcess.waitUntilReady(next)
                    #expect(next.errors.contains("took over the socket of a running sluiced"))
                    #expect(next.errors.contains("pid=\(running.pid) socket=\(place.socketPath)"), "\(next.errors)")
                    #expect(try RedisClient(path: place.socketPath).info("process_id") == "\(next.pid)")
                    try await callers.waitForAnswers(300)
                    #expect(try await running.terminate() == .exited(status: 0))
                    running = next
                }
            }
            try await asked
            #expect(callers.failures == [])
            var status = stat()
            #expect(lstat(place.socketPath, &status) == 0 && status.st_mode & 0o777 == 0o600)
            #expect(try HTTPClient(.socket(http)).ask("GET", "/readyz").status == 200)
            #expect(try await running.terminate() == .exited(status: 0))
            let left = try FileManager.default.contentsOfDirectory(atPath: place.folder.path)
            #expect(left == ["policy.json"])
        }

        /// The new one ends before the old one: that makes its socket again.
        @Test func oneThatWasTakenOverGoesOnIfItsSuccessorEnds() async throws {
            let sidecar = try await SidecarProcess(policy: Policies.seed, redis: "none")
            let client = try sidecar.client()
            let next = try SidecarProcess.launch([
                "--socket", sidecar.socketPath, "--policy", sidecar.folder.path("policy.json"), "--take-over",
            ])
            try await SidecarProcess.waitUntilReady(next)
            #expect(try sidecar.client().info("process_id") == "\(next.pid)")
            try await next.terminate()
            try await waitUntil("the first is back\n\(sidecar.log)") {
                (try? sidecar.client().info("process_id")) == "\(sidecar.pid)"
            }
            #expect(try client.info("socket_remakes") == "1")
        }

        /// Of two that start together, one gets the socket and the other gives up.
        @Test func ofTwoThatStartTogetherOneWins() async throws {
            let place = try Place()
            let both = try (1...2).map { _ in try SidecarProcess.launch(place.arguments) }
            try await waitUntil("one has given up") { both.contains { !$0.isRunning } }
            let loser = try #require(both.first { !$0.isRunning })
            let winner = try #require(both.first { $0.isRunning })
            #expect(try await loser.wait() == .exited(status: 69))
            try await SidecarProcess.waitUntilReady(winner)
            #expect(try RedisClient(path: place.socketPath).command("PING") == .string("PONG"))
        }

        @Test func aStaleSocketIsReplaced() async throws {
            let place = try Place()
            let first = try SidecarProcess.launch(place.arguments)
            try await SidecarProcess.waitUntilReady(first)
            try await first.end()
            #expect(FileManager.default.fileExists(atPath: place.socketPath))
            let second = try SidecarProcess.launch(place.arguments)
            try await SidecarProcess.waitUntilReady(second)
            #expect(try RedisClient(path: place.socketPath).command("PING") == .string("PONG"))
        }

        /// A sidecar whose socket was replaced by another's leaves that alone when it ends.
        @Test func anothersSocketIsNotRemoved() async throws {
            let first = try await SidecarProcess(policy: Policies.seed, redis: "none")
            try FileManager.default.removeItem(atPath: first.socketPath)
            let second = try SidecarProcess.launch([
                "--socket", first.socketPath, "--policy", first.folder.path("policy.json"),
            ])
            try await SidecarProcess.waitUntilReady(second)
            #expect(try await first.process.terminate() == .exited(status: 0))
            #expect(try first.client().command("PING") == .string("PONG"))
            #expect(second.isRunning)
        }

        @Test func aFileAtThePathIsLeftAlone() async throws {
            let place = try Place()
            let file = try place.folder.write("precious", to: "notes.txt")
            let errors = try await SidecarProcess.startErrors(["--socket", file, "--policy", place.policy])
            #expect(
                errors.last
                    == "\(file): there is a file that is not a socket, remove it or choose another --socket")
            #expect(try String(contentsOfFile: file, encoding: .utf8) == "precious")
        }

        @Test func aPathThatCannotBeIsRefused() async throws {
            let place = try Place()
            let long = place.folder.path(String(repeating: "x", count: 103 - place.folder.path.utf8.count))
            let errors = try await SidecarProcess.startErrors(["--socket", long, "--policy", place.policy])
            #expect(errors.last == "\(long): a socket's path has at most 103 bytes, choose a shorter one")
            let longest = String(long.dropLast())
            #expect(longest.utf8.count == 103)
            let sidecar = try SidecarProcess.launch(["--socket", longest, "--policy", place.policy])
            try await SidecarProcess.waitUntilReady(sidecar)
            #expect(try RedisClient(path: longest).command("PING") == .string("PONG"))

            let nowhere = place.folder.path("none/s.sock")
            let missing = try await SidecarProcess.startErrors(["--socket", nowhere, "--policy", place.policy])
            #expect(missing.last == "\(nowhere): cannot open its folder: No such file or directory")
        }

        @Test(arguments: [(nil, 0o660), ("0600", 0o600), ("666", 0o666)])
        func theSocketHasItsMode(setting: String?, mode: Int) async throws {
            let sidecar = try await SidecarProcess(
                policy: Policies.seed, redis: "none", arguments: setting.map { ["--socket-mode", $0] } ?? [])
            let attributes = try FileManager.default.attributesOfItem(atPath: sidecar.socketPath)
            #expect(attributes[.posixPermissions] as? Int == mode)
        }

        @Test(.enabled(if: getuid() == 0, "only root may give a socket to any group"))
        func theSocketHasItsGroup() async throws {
            let sidecar = try await SidecarProcess(
                policy: Policies.seed, redis: "none", arguments: ["--socket-group", "65534"])
            let attributes = try FileManager.default.attributesOfItem(atPath: sidecar.socketPath)
            #expect(attributes[.groupOwnerAccountID] as? Int == 65_534)
            let errors = try await SidecarProcess.startErrors([
                "--socket", sidecar.folder.path("other.sock"), "--policy", sidecar.folder.path("policy.json"),
                "--socket-group", "no such group",
            ])
            #expect(
                errors.last == "--socket-group: there is no group \"no such group\", name one or give its id")
        }
    }
}

/// Connections that the kernel has taken for a server that does not accept any.
private final class WaitingConnections {
    private var handles: [Int32] = []
    var count: Int { handles.count }

    /// Opens so many as there is room for.
    init(to path: String, atMost most: Int) throws {
        var files = rlimit()
        getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &files)
        files.rlim_cur = max(files.rlim_cur, min(files.rlim_max, 4_096))
        setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &files)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8.prefix(107)) }
        let flags = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        while handles.count < most {
            let handle = socket(AF_UNIX, flags, 0)
            guard handle >= 0 else { throw SupportError("socket: \(String(cString: strerror(errno)))") }
            let result = withUnsafePointer(to: &address) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    connect(handle, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
                }
            }
            guard result == 0 else {
                let reason = errno
                close(handle)
                guard reason == EAGAIN else { throw SupportError("connect: \(String(cString: strerror(reason)))") }
                return
            }
            handles.append(handle)
        }
    }

    deinit { for handle in handles { close(handle) } }
}

/// A named pipe with no room left.
private final class FullPipe {
    private let handle: Int32
    private var received = ""

    init(_ path: String) throws {
        // Open at both ends, so that nobody waits for the other one.
        guard mkfifo(path, 0o600) == 0 else { throw SupportError("mkfifo") }
        handle = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC)
        guard handle >= 0 else { throw SupportError("open") }
        fill()
    }

    deinit { close(handle) }

    func fill() {
        let dots = [UInt8](repeating: UInt8(ascii: "."), count: 4_096)
        while write(handle, dots, dots.count) > 0 {}
        while write(handle, dots, 1) > 0 {}
    }

    /// What is in it, which is then gone.
    func read() -> String {
        var text = ""
        var chunk = [UInt8](repeating: 0, count: 65_536)
        while case let count = Glibc.read(handle, &chunk, chunk.count), count > 0 {
            text += String(decoding: chunk[..<count], as: UTF8.self)
        }
        return text
    }

    /// All that was ever in it since `read`.
    var text: String {
        received += read()
        return received
    }
}
