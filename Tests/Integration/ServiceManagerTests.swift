import Foundation
import Support
import Testing

extension Integration {
    /// What a service manager such as systemd is told, and the sockets that it hands over.
    @Suite struct ServiceManager {
        // MARK: - Notifications

        private func start(_ place: Place, _ socket: NotifySocket, _ variables: [String: String] = [:]) throws
            -> ChildProcess
        {
            try SidecarProcess.launch(
                place.arguments + ["--redis", "none"],
                environment: variables.merging(["NOTIFY_SOCKET": socket.name]) { $1 })
        }

        @Test(arguments: ["path", "abstract"])
        func itIsToldOfTheWholeLife(kind: String) async throws {
            let place = try Place()
            let socket = try NotifySocket(kind == "path" ? place.folder.path("n.sock") : "@\(place.folder.path)/n")
            let process = try start(place, socket)
            try await waitUntil("it is ready\n\(process.errors)") {
                socket.hasReceived("READY=1", "STATUS=counting local, 1 policy")
            }
            // Ready means that callers are answered.
            #expect(try RedisClient(path: place.socketPath).command("PING").text == "PONG")
            process.signal(SIGHUP)
            var messages: [[String]] = []
            try await waitUntil("it has read its files again") {
                messages += socket.receive()
                return messages.contains { $0.contains("READY=1") }
            }
            #expect(messages.count == 2 && messages[0].first == "RELOADING=1")
            let stamp = try #require(messages[0].last.flatMap { Int64($0.dropFirst("MONOTONIC_USEC=".count)) })
            #expect(stamp > 0 && stamp <= DispatchTime.now().uptimeNanoseconds / 1000)
            #expect(try await process.terminate() == .exited(status: 0))
            #expect(socket.hasReceived("STOPPING=1", "STATUS=draining"))
            #expect(!socket.lines.contains("WATCHDOG=1"))
        }

        @Test func theStatusSaysWhereCountingIs() async throws {
            let socket = try NotifySocket("@sluice-test-\(getpid())-\(UInt64.random(in: 0...UInt64.max))")
            let redis = try await RedisProcess()
            let sidecar = try await SidecarProcess(
                policy: "",
                documents: ["a.json": Policies.seed, "b.json": Policies.seed, "grants.json": #"{"*": "a", "x": "b"}"#],
                redis: redis.url, store: redis, environment: ["NOTIFY_SOCKET": socket.name])
            try await waitUntil("shared") { socket.hasReceived("STATUS=counting shared, 2 policies") }
            try await redis.kill()
            try await waitUntil("local") { socket.hasReceived("STATUS=counting local, 2 policies") }
            withExtendedLifetime(sidecar) {}
        }

        /// One that is not ready says nothing; `SIGHUP` before does not make it ready.
        @Test func withoutItsRedisItIsNeverReady() async throws {
            let place = try Place()
            let socket = try NotifySocket(place.folder.path("n.sock"))
            let process = try SidecarProcess.launch(
                place.arguments + ["--redis", "redis://127.0.0.1:1", "--require-redis"],
                environment: ["NOTIFY_SOCKET": socket.name])
            try await waitUntil("it runs") { process.errors.contains("redis is unavailable") }
            process.signal(SIGHUP)
            #expect(try await process.wait() == .exited(status: 69))
            socket.receive()
            #expect(!socket.lines.contains { $0.hasPrefix("READY") || $0.hasPrefix("RELOADING") })
        }

        @Test func theWatchdogIsPinged() async throws {
            let place = try Place()
            let socket = try NotifySocket(place.folder.path("n.sock"))
            let process = try start(place, socket, ["WATCHDOG_USEC": "100000"])
            for count in 1...3 { try await waitUntil("ping \(count)") { socket.hasReceived("WATCHDOG=1") } }
            try await process.terminate()
        }

        /// A manager that is gone, or a name that cannot be, keeps no sidecar from starting.
        @Test(arguments: ["/nowhere/n.sock", "vsock:2:1234", "@" + String(repeating: "x", count: 200)])
        func aManagerThatCannotBeToldIsWarnedAbout(name: String) async throws {
            let sidecar = try await SidecarProcess(
                policy: Policies.seed, redis: "none", environment: ["NOTIFY_SOCKET": name])
            try await waitUntil("it says so") { sidecar.log.contains("the service manager cannot be told") }
            #expect(try sidecar.client().command("PING").text == "PONG")
        }

        // MARK: - Sockets

        /// Its path; nil, aloud, if it is not installed.
        private static func activator() -> String? {
            let path = "/usr/bin/systemd-socket-activate"
            if FileManager.default.isExecutableFile(atPath: path) { return path }
            print("not run, since there is no systemd-socket-activate (Debian: systemd)")
            return nil
        }

        /// Starts a command that gets a socket once somebody connects, and connects.
        private func activate(
            _ place: Place, at path: String? = nil, _ options: [String] = [], _ command: [String]
        ) async throws -> (process: ChildProcess, first: RedisClient)? {
            guard let activator = Self.activator() else { return nil }
            let path = path ?? place.socketPath
            let process = try ChildProcess(activator, ["-l", path] + options + command)
            var client: RedisClient?
            try await waitUntil("it listens\n\(process.errors)") {
                client = try? RedisClient(path: path)
                return client != nil
            }
            return client.map { (process, $0) }
        }

        @Test func aSocketIsTakenAndLeft() async throws {
            let place = try Place()
            let program = try SidecarProcess.program()
            guard let (process, client) = try await activate(place, [], [program] + place.arguments) else { return }
            let reply = try client.check(Grants.next(), "opencode_run")
            #expect(reply.allowed)
            #expect(try client.info("process_id") == "\(process.pid)")
            #expect(try await process.terminate() == .exited(status: 0))
            #expect(FileManager.default.fileExists(atPath: place.socketPath))
        }

        /// Each of several sockets goes to the door whose path it has, in whatever order they come.
        @Test func everyDoorTakesItsSocket() async throws {
            let place = try Place()
            let http = place.folder.path("h.sock")
            let command = [try SidecarProcess.program()] + place.arguments + ["--http-socket", http]
            guard let (process, client) = try await activate(place, at: http, ["-l", place.socketPath], command) else {
                return
            }
            try await waitUntil("it listens there, too") { (try? RedisClient(path: place.socketPath)) != nil }
            #expect(try RedisClient(path: place.socketPath).command("PING").text == "PONG")
            // That socket answers a moment before everything is ready.
            try await waitUntil("it is ready") { try HTTPClient(.socket(http)).ask("GET", "/readyz").status == 200 }
            withExtendedLifetime(client) {}
            #expect(try await process.terminate() == .exited(status: 0))
            for path in [http, place.socketPath] { #expect(FileManager.default.fileExists(atPath: path)) }
        }

        /// The settings name the path in another way, through a link.
        @Test func theSamePathMayBeWrittenInAnotherWay() async throws {
            let place = try Place()
            let link = place.folder.path("link")
            try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: place.folder.path)
            let command = [try SidecarProcess.program(), "--socket", "\(link)/s.sock", "--policy", place.policy]
            guard let (process, client) = try await activate(place, [], command) else { return }
            #expect(try client.command("PING").text == "PONG")
            try await process.terminate()
        }

        @Test func aSocketElsewhereIsAFault() async throws {
            let place = try Place()
            let other = place.folder.path("o.sock")
            let command = [try SidecarProcess.program()] + place.arguments + ["--redis", "none"]
            guard let (process, client) = try await activate(place, at: other, ["--fdname=other"], command) else {
                return
            }
            #expect(try await process.wait() == .exited(status: 78))
            #expect(
                process.errors.hasSuffix(
                    "LISTEN_FDS: descriptor 3 (other) listens at \(other), expected the path of --socket (\(place.socketPath))\n"
                ),
                "\(process.errors)")
            withExtendedLifetime(client) {}
        }

        /// The file of a socket that was handed over is removed: one of its own takes its place.
        @Test func aRemovedFileIsMadeAgain() async throws {
            let place = try Place()
            let program = try SidecarProcess.program()
            guard let (process, client) = try await activate(place, [], [program] + place.arguments) else { return }
            #expect(try client.command("PING").text == "PONG")
            try #require(unlink(place.socketPath) == 0)
            try await waitUntil("it is made again\n\(process.errors)") { try client.info("socket_remakes") == "1" }
            #expect(try RedisClient(path: place.socketPath).command("PING").text == "PONG")
            #expect(try await process.terminate() == .exited(status: 0))
            #expect(!FileManager.default.fileExists(atPath: place.socketPath))
        }

        /// Restarts under load: callers wait in the socket's backlog, which outlives each process, and none fails.
        @Test func aRestartFailsNoCheck() async throws {
            let place = try Place(policy: Policies.rate(1_000_000_000, per: Policies.longWindow))
            let pids = place.folder.path("pids")
            let script = try place.folder.write(
                """
                while [ ! -e "$1/end" ]; do
                    sh -c 'echo $$ >>"$0/pids"; LISTEN_PID=$$ exec "$@"' "$@"
                done

                """, to: "restart.sh")
            let command = ["/bin/sh", script, place.folder.path, try SidecarProcess.program()] + place.arguments
            guard let (process, first) = try await activate(place, [], command) else { return }
            #expect(try first.command("PING").text == "PONG")
            let callers = PersistentCallers()
            async let asked: Void = callers.ask(place.socketPath)
            do {
                defer { callers.stop() }
                for restart in 1...10 {
                    try await callers.waitForAnswers(500)
                    let pid = try Int32(
                        #require(String(contentsOfFile: pids, encoding: .utf8).split(separator: "\n").last))!
                    try #require(kill(pid, SIGTERM) == 0)
                    try await waitUntil("restart \(restart)\n\(process.errors)") {
                        // Asked in the backlog while there is no process.
                        let found = try? RedisClient(path: place.socketPath).info("process_id")
                        return found.map { $0 != "\(pid)" } ?? false
                    }
                }
                try place.folder.write("", to: "end")
            }
            _ = try await asked
            #expect(callers.failures == [])
            let count = try String(contentsOfFile: pids, encoding: .utf8).split(separator: "\n").count
            #expect(count >= 11)
            let last = try Int32(#require(String(contentsOfFile: pids, encoding: .utf8).split(separator: "\n").last))!
            try #require(kill(last, SIGTERM) == 0)
            #expect(try await process.wait() == .exited(status: 0))
        }
    }
}

extension Integration.ServiceManager {
    private static let folder = "\(ShellSession.repository)/deploy/systemd"

    private static func unit(_ name: String) throws -> String {
        try String(contentsOfFile: "\(folder)/\(name)", encoding: .utf8)
    }

    private static func settings(_ text: String) -> [Substring] {
        text.split(separator: "\n").filter { !$0.hasPrefix("#") && !$0.hasPrefix("Description=") }
    }

    /// The templates are the plain units with other names.
    @Test func templatesDifferInNamesOnly() throws {
        let names = [
            ("/etc/sluice/%i.env", "/etc/sluice/sluiced.env"), ("/run/sluice/%i.sock", "/run/sluice/sluice.sock"),
            ("/etc/sluice/%i.json", "/etc/sluice/policy.json"), ("StateDirectory=sluice-%i", "StateDirectory=sluice"),
        ]
        for kind in ["service", "socket"] {
            let template = try Self.unit("sluiced@.\(kind)")
            #expect(template.contains("%i"))
            let plain = names.reduce(template) { $0.replacing($1.0, with: $1.1) }
            #expect(Self.settings(plain) == Self.settings(try Self.unit("sluiced.\(kind)")))
        }
    }

    /// Both units name the same socket.
    @Test(arguments: ["sluiced", "sluiced@"])
    func theSocketIsWhereTheSidecarExpectsIt(name: String) throws {
        let path = try #require(Self.settings(try Self.unit("\(name).socket")).first { $0.hasPrefix("ListenStream=") })
            .dropFirst("ListenStream=".count)
        #expect(try Self.unit("\(name).service").contains("Environment=SLUICE_SOCKET=\(path)\n"))
    }

    @Test func systemdAcceptsTheUnits() async throws {
        let analyze = "/usr/bin/systemd-analyze"
        guard FileManager.default.isExecutableFile(atPath: analyze) else {
            return print("not run, since there is no systemd-analyze (Debian: systemd)")
        }
        let folder = try TemporaryFolder()
        let program = try SidecarProcess.program()
        for (name, file) in [
            ("sluiced.service", "sluiced.service"), ("sluiced.socket", "sluiced.socket"),
            ("sluiced@.service", "sluiced@a.service"), ("sluiced@.socket", "sluiced@a.socket"),
        ] {
            try folder.write(try Self.unit(name).replacing("/usr/local/bin/sluiced", with: program), to: file)
        }
        let units = ["sluiced.service", "sluiced.socket", "sluiced@a.service", "sluiced@a.socket"].map(folder.path)
        let process = try ChildProcess(analyze, ["verify", "--man=no"] + units)
        #expect(try await process.wait() == .exited(status: 0), "\(process.errors)")
        #expect(!process.errors.contains("sluice"), "\(process.errors)")
    }
}
