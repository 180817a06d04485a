import Foundation
import Support
import Testing

extension Integration {
    /// Every command that a document or a help text shows is run as it stands, and what is shown of its output is what comes,
    /// but for numbers.
    @Suite struct DocumentedCommands {
        /// What is not run, by how it begins, and why. All of them are looked at: their options and files must be there.
        static let notRun: [(beginning: String, reason: String)] = [
            ("scripts/test", "it is what runs this test"),
            ("scripts/run", "it builds for release and goes on for minutes; its steps are tests here"),
            ("scripts/build", "it builds for release, some minutes; the programs built beside the tests stand for it"),
            ("scripts/drill", "it builds for release and takes a minute; a short outage is run"),
            ("scripts/bench", "it builds for release and takes minutes of a quiet machine"),
            ("scripts/package", "it builds for release, and packs for minutes; its parts are tests here"),
            ("scripts/alerts", "it builds for release and takes minutes; a test compares its causes with the alerts"),
            ("scripts/manifests", "it installs from PyPI; scripts/test runs it"),
            ("scripts/simulate", "it builds for release; scripts/test runs it"),
            ("sluice-load --socket sluice.sock --find-rate", "a minute at the highest rate of the machine"),
            ("sluice-load --socket a.sock --find-rate", "a minute at the highest rate of the machine"),
            ("sluice-load --socket a.sock --socket b.sock --grants 1000 --duration 1m", "a minute"),
            ("sluice-load --spawn --faults outage.txt --duration 1m", "a minute; a shorter one is run"),
            ("sluice-load --spawn --sidecars 2 --policy policy.json --faults faults --duration 60s", "a minute"),
            ("sluicectl clear alice-laptop", "it asks a person; with --yes it is run"),
            ("sluicectl override alice-laptop", "it asks a person; with --yes it is run"),
            ("sluicectl counters --redis rediss://", "there is no such Redis; a test reads one over TLS"),
            ("sluicectl tail", "it goes on until somebody ends it; tests run it"),
            ("sluicectl --socket sluice.sock tail", "the same"),
            ("cat faults", "shows the file of that run"),
            ("swift test", "it is what runs this test"),
            ("envoy -c", "it needs Envoy: tests run the same files with ports of their own"),
            ("scripts/plugs", "it installs proxies and clients, and takes minutes; its parts are tests here"),
            ("cd deploy/swift-hummingbird", "it builds Hummingbird, some minutes; a test asks the same gateway"),
            ("curl -i -H 'authorization: Bearer key-of-alice'", "that gateway is asked by a test"),
            ("nginx -p", "it needs nginx with Lua: tests run the same file with ports of their own"),
            ("haproxy -f", "it needs HAProxy: tests run the same file with ports of their own"),
            ("sluiced --socket /run/sluice/sluice.sock --grpc-socket", "needs /run/sluice; tests start the same"),
            ("install ", "installs into the system"),
            ("apt-get install", "installs into the system"),
            ("pip install", "installs from PyPI; the tests of the Python package do that"),
            ("python -m venv", "the same"),
            ("venv/bin/python -m pytest", "the tests of the Python package do that"),
            ("python deploy/python/tests/measure_faults.py", "the tests of the Python package run it, fewer times"),
            ("systemctl ", "needs systemd, and a system of its own"),
            ("sluicectl status --wait", "only under systemd, of a sidecar that was installed"),
        ]

        private static func reason(_ command: ShownCommand) -> String? {
            // Of root there are only commands that change the system.
            let isOfRoot = command.document.hasPrefix("deploy/systemd")
            if command.text.hasPrefix("sluicectl status --wait") && !isOfRoot { return nil }
            return notRun.first { command.text.hasPrefix($0.beginning) }?.reason
        }

        /// Where something else than success is shown.
        private static let exitCodes: [(beginning: String, codes: ClosedRange<Int32>)] = [
            ("sluicectl policy check wrong.json", 1...1),
            ("sluicectl policy diff old.json new.json --json | jq", 0...0),
            ("sluicectl policy diff", 1...1),
            ("sluicectl charge", 0...1), ("sluicectl explain", 0...1), ("sluicectl peek", 0...1),
            ("sluicectl check", 0...1),
            // There is no such reservation.
            ("sluicectl commit", 1...1), ("sluicectl cancel", 1...1), ("sluicectl release", 1...1),
        ]

        /// Pages whose commands need nothing but the repository.
        private static let wholePages = [
            "README.md", "Tests/README.md", "deploy/redis/README.md", "deploy/systemd/README.md",
            "deploy/examples/two-gateways/README.md", "deploy/python/README.md", "deploy/policies/README.md",
            "Sources/SluiceServer/README.md",
        ]
        /// Pages whose commands need the Redis and the sidecar of README.md's first example.
        private static let servedPages = [
            "Sources/SluicePolicy/README.md", "Sources/SluiceProtocol/README.md", "Sources/sluice-load/README.md",
            "deploy/README.md",
        ]
        private static let pages =
            wholePages + servedPages
            + [
                "Sources/SluiceEngine/README.md", "Sources/SluiceRedis/README.md", "Sources/SluiceEnvoy/README.md",
                "Sources/SluiceGRPC/README.md", "deploy/envoy/README.md", "deploy/lua/README.md",
                "deploy/swift-hummingbird/README.md",
                ".github/CONTRIBUTING.md", ".github/CHANGELOG.md", ".github/SECURITY.md",
            ]

        private static func page(_ name: String) throws -> String {
            try String(contentsOfFile: "\(ShellSession.repository)/\(name)", encoding: .utf8)
        }

        private static func help(_ words: [String]) async throws -> String {
            let folder = URL(fileURLWithPath: try SidecarProcess.program()).deletingLastPathComponent().path
            let isScript = words[0].contains("/")
            let program = isScript ? "\(ShellSession.repository)/\(words[0])" : "\(folder)/\(words[0])"
            let process = try ChildProcess(program, words.dropFirst() + ["--help"])
            #expect(try await process.wait() == .exited(status: 0), "\(words)")
            return process.output
        }

        /// `words` and all commands below it.
        private static func commandTree(_ words: [String]) async throws -> [(words: [String], help: String)] {
            let text = try await help(words)
            var tree = [(words: words, help: text)]
            let parts = text.components(separatedBy: "SUBCOMMANDS:\n")
            guard parts.count == 2 else { return tree }
            for line in parts[1].components(separatedBy: "\n\n")[0].components(separatedBy: "\n")
            where line.hasPrefix("  ") && !line.hasPrefix("   ") {
                let name = String(line.split(separator: " ")[0])
                tree += try await commandTree(words + [name])
            }
            return tree
        }

        private static func scripts() throws -> [String] {
            let folder = "\(ShellSession.repository)/scripts"
            return try FileManager.default.contentsOfDirectory(atPath: folder).sorted()
                .filter { !$0.contains(".") }.map { "scripts/\($0)" }
        }

        // MARK: - Running

        private static let policy = """
            {"version": "1", "default": "deny", "tools": {
              "opencode_run": {"limits": [{"counter": "opencode_run_rate", "window": "minute", "max": 10}]},
              "search": {"rate_limit": "10/minute"}, "build": {"rate_limit": "10/minute"}}}
            """

        /// What examples in help texts take to be there: documents, a folder of them, and a sidecar or two.
        private static let files: [(name: String, text: String)] = [
            ("old.json", policy), ("policy.json", policy.replacing("\"max\": 10", with: "\"max\": 20")),
            ("new.json", policy.replacing("\"max\": 10", with: "\"max\": 20")), ("policies/coding.json", policy),
            ("policies/grants.json", #"{"*": "coding"}"#), ("gateways.json", #"{"version": "1"}"#),
            ("decisions.jsonl", decisions), ("a.jsonl", decisions), ("b.jsonl", decisions),
        ]
        private static let decisions = """
            {"time":"2026-11-30T10:00:00.000Z","sample":1}
            {"time":"2026-11-30T10:00:01.000Z","action":"check","grant":"alice","tool":"opencode_run","verdict":"allow"}

            """
        private static let servers = """
            export SLUICE_SOCKET=sluice.sock
            redis-server --port 0 --unixsocket redis.sock --save '' >/dev/null &
            for name in sluice a b; do
                sluiced --socket $name.sock --policy old.json --redis "unix://$PWD/redis.sock" --budget 5s 2>/dev/null &
            done
            for name in sluice a b; do sluicectl --socket $name.sock status --wait --timeout 60s >/dev/null; done
            """

        private static let serversOfAPage = """
            redis-server --port 0 --unixsocket redis.sock --save '' >/dev/null &
            sluiced --socket sluice.sock --policy deploy/examples/policy.json --redis "unix://$PWD/redis.sock" \\
                --replicas 2 --budget 5s 2>/dev/null &
            sluicectl --socket sluice.sock status --wait --timeout 60s >/dev/null
            """

        private func check(_ results: [ShellSession.Result]) {
            for result in results {
                let command = result.command
                let codes = Self.exitCodes.first { command.text.hasPrefix($0.beginning) }?.codes ?? 0...0
                let output = result.output.joined(separator: "\n")
                #expect(codes.contains(result.exitCode), "\(command): exit code \(result.exitCode)\n\(output)")
                guard !command.output.isEmpty else { continue }
                let (shown, found) = (command.output.map(ShownCommand.shape), result.output.map(ShownCommand.shape))
                #expect(found == shown, "\(command)\n\(output)")
            }
        }

        private func runnable(_ commands: [ShownCommand]) -> [ShownCommand] {
            let hasJQ = ProcessInfo.processInfo.environment["PATH"]?.split(separator: ":").contains {
                FileManager.default.isExecutableFile(atPath: "\($0)/jq")
            }
            return commands.filter { command in
                if hasJQ != true && command.text.contains("| jq") {
                    print("not run, since there is no jq: \(command)")
                    return false
                }
                return Self.reason(command) == nil
            }
        }

        /// A counter of README's first example must not start a new window between its commands.
        private func waitForRoomInTheMinute() async throws {
            try await waitUntil("there is room in the minute", timeout: .seconds(60)) { time(nil) % 60 < 25 }
        }

        @Test(arguments: pages)
        func thoseOfAPageDoWhatItSays(page: String) async throws {
            let commands = runnable(ShownCommand.inPage(try Self.page(page), document: page))
            guard !commands.isEmpty else { return }
            if page == "README.md" { try await waitForRoomInTheMinute() }
            check(
                try await ShellSession.run(
                    commands, preparation: Self.servedPages.contains(page) ? Self.serversOfAPage : ""))
        }

        @Test func manyCommandsOfPagesAreRun() throws {
            let count = try Self.pages.map {
                runnable(ShownCommand.inPage(try Self.page($0), document: $0)).count
            }
            #expect(count.reduce(0, +) >= 30 && count[0] >= 10)
        }

        @Test(arguments: ["sluiced", "sluicectl", "sluice-load"])
        func thoseOfAHelpTextWork(program: String) async throws {
            let tree = try await Self.commandTree([program])
            let shown = tree.flatMap { ShownCommand.inHelp($0.help, document: $0.words.joined(separator: " ")) }
            #expect(!shown.isEmpty)
            // The one of sluiced begins with its own start.
            let preparation = program == "sluiced" ? "" : Self.servers
            check(try await ShellSession.run(runnable(shown), files: Self.files, preparation: preparation))
        }

        /// README's Python, where redis-py is there.
        @Test func theProgramInPythonWorks() async throws {
            let blocks = ShownCommand.blocks("python", of: try Self.page("README.md"))
            try #require(blocks.count == 1)
            let probe = try ChildProcess("python3", ["-c", "import redis"])
            guard try await probe.wait() == .exited(status: 0) else {
                return print("not run, since there is no redis-py: README.md's Python (scripts/stock-clients has it)")
            }
            let command = ShownCommand(document: "README.md", text: "python3 program.py", output: [])
            let files = Self.files + [(name: "program.py", text: blocks[0].joined(separator: "\n"))]
            check(try await ShellSession.run([command], files: files, preparation: Self.servers))
        }

        // MARK: - Looking at all of them

        private static func allShown() async throws -> [ShownCommand] {
            var shown = try pages.flatMap { ShownCommand.inPage(try page($0), document: $0) }
            for script in try scripts() { shown += ShownCommand.inHelp(try await help([script]), document: script) }
            for program in ["sluiced", "sluicectl", "sluice-load"] {
                for entry in try await commandTree([program]) {
                    shown += ShownCommand.inHelp(entry.help, document: entry.words.joined(separator: " "))
                }
            }
            return shown
        }

        /// What is excepted is still shown somewhere, and what scripts' help texts show is either.
        @Test func everyExceptionIsNeeded() async throws {
            let shown = try await Self.allShown()
            for entry in Self.notRun {
                #expect(shown.contains { $0.text.hasPrefix(entry.beginning) }, "\(entry.beginning): \(entry.reason)")
            }
            let scripts = try Self.scripts()
            for command in shown where scripts.contains(command.document) {
                #expect(Self.reason(command) != nil, "\(command): run it, or say why not")
            }
        }

        /// Also where a command is not run, its options and the files of this repository that it names are there.
        @Test func optionsAndFilesAreThere() async throws {
            var texts = try await Self.allShown().map { (document: $0.document, text: $0.text) }
            for page in Self.pages {
                let text = try Self.page(page)
                for match in text.matches(of: #/`([^`\n]+)`/#) { texts.append((page, String(match.1))) }
            }
            var helps: [String: String] = [:]
            let programs = try ["sluiced", "sluicectl", "sluice-load"] + Self.scripts()
            for program in programs {
                helps[program] = try await Self.commandTree([program]).map(\.help).joined()
            }
            helps["sluice-load", default: ""] += try await Self.help(["sluice-load", "bench"])
            helps["scripts/simulate", default: ""] += " --until-failure "
            var count = 0
            for (document, text) in texts {
                for part in text.split(separator: #/[|;&]+/#) {
                    let words = part.split(separator: " ").map(String.init)
                    guard let start = words.firstIndex(where: { programs.contains($0) }) else { continue }
                    let help = helps[words[start]] ?? ""
                    for word in words[start...].prefix(while: { !$0.hasPrefix("#") }) where word.hasPrefix("--") {
                        count += 1
                        let option = word.split(separator: "=")[0]
                        #expect(help.contains(option), "\(document): \(text): there is no \(option)")
                    }
                }
                for match in text.matches(of: #/(?:^|[ "'])((?:deploy|scripts)\/[A-Za-z0-9_.@\/-]+)/#) {
                    let path = "\(ShellSession.repository)/\(match.1)"
                    #expect(FileManager.default.fileExists(atPath: path), "\(document): \(text): no \(match.1)")
                }
            }
            #expect(count > 50)
        }

        /// Links lead to files and headings that are there, and sources that pages name exist.
        @Test func linksAndSourcesAreThere() throws {
            let root = URL(fileURLWithPath: ShellSession.repository)
            let sources = try ["Sources", "Tests", "deploy"].flatMap {
                try FileManager.default.subpathsOfDirectory(atPath: root.appendingPathComponent($0).path)
            }
            let names = Set(sources.map { URL(fileURLWithPath: $0).lastPathComponent })
            var count = 0
            for page in Self.pages {
                let text = try Self.page(page)
                let folder = root.appendingPathComponent(page).deletingLastPathComponent()
                for match in text.matches(of: #/\]\(([^)#:\s]*)(?:#([^)]*))?\)/#) {
                    count += 1
                    let file =
                        match.1.isEmpty
                        ? root.appendingPathComponent(page) : folder.appendingPathComponent(String(match.1))
                    #expect(FileManager.default.fileExists(atPath: file.path), "\(page): \(match.0)")
                    guard let anchor = match.2 else { continue }
                    let headings = try String(contentsOf: file, encoding: .utf8).components(separatedBy: "\n")
                        .filter { $0.hasPrefix("#") }.map(Self.anchor)
                    #expect(headings.contains(String(anchor)), "\(page): \(match.0)")
                }
                for match in text.matches(of: #/`(?:[A-Za-z-]+\/)*([A-Za-z+]+\.(?:swift|lua))`/#) {
                    count += 1
                    #expect(names.contains(String(match.1)), "\(page): there is no \(match.1)")
                }
            }
            #expect(count > 40)
        }

        /// A heading as links name it.
        private static func anchor(_ heading: String) -> String {
            heading.drop { $0 == "#" || $0 == " " }.lowercased().filter {
                $0.isLetter || $0.isNumber || " -_".contains($0)
            }
            .replacing(" ", with: "-")
        }

        /// The pictures in documents are of what the report looks like now.
        @Test func picturesAreOfWhatIsThere() async throws {
            let check = try ChildProcess("\(ShellSession.repository)/scripts/pictures", ["--check"])
            #expect(try await check.wait() == .exited(status: 0), "\(check.errors)")
        }

        /// A reload that the unit does not know of would be a restart.
        @Test func theUnitReloads() throws {
            let unit = try Self.page("deploy/systemd/sluiced.service")
            #expect(unit.contains("\nExecReload=/bin/kill -HUP $MAINPID\n"))
            #expect(!unit.contains("no reload"))
        }
    }
}
