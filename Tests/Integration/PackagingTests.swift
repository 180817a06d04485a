import Foundation
import Support
import Testing

extension Integration {
    /// What `scripts/package` puts into packages and images, as far as it can be looked at without building for release.
    @Suite struct Packaging {
        private static let repository = ShellSession.repository
        private static let programs = [("sluiced", "8"), ("sluicectl", "1"), ("sluice-load", "1")]

        private static func folder(_ name: String) throws -> [String] {
            try FileManager.default.contentsOfDirectory(atPath: "\(repository)/\(name)").sorted()
        }

        private static func text(_ path: String) throws -> String {
            try String(contentsOfFile: "\(repository)/\(path)", encoding: .utf8)
        }

        private static func program(_ name: String) throws -> String {
            URL(fileURLWithPath: try SidecarProcess.program()).deletingLastPathComponent().path + "/\(name)"
        }

        private static func output(_ program: String, _ arguments: [String], input: String = "") async throws -> String
        {
            let process = try ChildProcess(program, arguments, input: input)
            #expect(try await process.wait() == .exited(status: 0), "\(program) \(arguments): \(process.errors)")
            return process.output
        }

        /// A unit or a settings file of a kind that the packages do not know would be left out.
        @Test func whatSystemdNeedsIsPackaged() throws {
            let kinds = [".service", ".socket", ".target", ".timer", ".path", ".sysusers", ".env.example"]
            let files = try Self.folder("deploy/systemd").filter { $0 != "README.md" }
            #expect(files.count >= 3)
            for file in files { #expect(kinds.contains { file.hasSuffix($0) }, "\(file)") }
            let script = try Self.text("scripts/package")
            for kind in kinds.suffix(2) { #expect(script.contains("deploy/systemd/*\(kind)"), "\(kind)") }
            #expect(script.contains("deploy/systemd/*.{service,socket,target,timer,path}"))
        }

        /// A manual has every option and command that the program has, and no fault that `man` warns of.
        @Test(arguments: programs) func manualsAreWhole(program: String, section: String) async throws {
            let dump = try await Self.output(try Self.program(program), ["--experimental-dump-help"])
            let options = ["--section", section, "--version", "1.2.3", "--date", "2026-11-30", "--see-also", "redis.1"]
            let page = try await Self.output("\(Self.repository)/scripts/manual.py", options, input: dump)
            let plain = page.replacing("\\-", with: "-").replacing("\\fB", with: "").replacing("\\fR", with: "")
            #expect(plain.hasPrefix(".TH \(program.uppercased()) \(section) \"2026-11-30\" \"Sluice 1.2.3\""))
            #expect(plain.hasSuffix("redis(1)\n"))
            let data = try JSONSerialization.jsonObject(with: Data(dump.utf8)) as? [String: Any]
            let command = try #require(data?["command"] as? [String: Any])
            let names = Self.names(command)
            #expect(names.count > 15)
            for name in names { #expect(plain.contains(name), "\(program): \(name)") }
            guard let man = Tool.find("man"), Tool.find("groff") != nil else {
                return print("not run, since there is no man or no groff: the look of \(program)'s manual")
            }
            let folder = try TemporaryFolder()
            let path = try folder.write(page, to: "\(program).\(section)")
            let shown = try ChildProcess(man, ["--warnings", "-E", "UTF-8", "-l", "-Tutf8", path])
            #expect(try await shown.wait() == .exited(status: 0))
            #expect(shown.errors == "")
        }

        /// Options with their dashes, and headings of commands.
        private static func names(_ command: [String: Any]) -> [String] {
            let arguments = command["arguments"] as? [[String: Any]] ?? []
            let options = arguments.flatMap { $0["names"] as? [[String: String]] ?? [] }
                .compactMap { $0["kind"] == "long" ? $0["name"].map { "--\($0)" } : nil }
            let commands = (command["subcommands"] as? [[String: Any]] ?? []).filter {
                $0["commandName"] as? String != "help"
            }
            return options + commands.flatMap { names($0) + ["\($0["commandName"] ?? "")\n"] }
        }

        @Test func whatIsNoDumpIsRejectedInOneLine() async throws {
            let options = ["--section", "1", "--version", "1", "--date", "2026-11-30"]
            for input in ["", "[]", #"{"command": {}}"#, #"{"command": 7}"#] {
                let run = try ChildProcess("\(Self.repository)/scripts/manual.py", options, input: input)
                #expect(try await run.wait() == .exited(status: 1))
                #expect(run.output == "" && run.errors.hasPrefix("manual.py: standard input is not "))
                #expect(run.errors.split(separator: "\n").count == 1, "\(run.errors)")
            }
        }

        @Test(arguments: programs) func completionsAreThere(program: String, section: String) async throws {
            let bash = try await Self.output(
                try Self.program(program), ["--generate-completion-script", "bash"])
            _ = try await Self.output("bash", ["-n"], input: bash)
            #expect(bash.contains("complete "))
            for shell in ["zsh", "fish"] {
                let script = try await Self.output(
                    try Self.program(program), ["--generate-completion-script", shell])
                #expect(script.contains(program), "\(shell)")
                guard let found = Tool.find(shell) else {
                    print("not run, since there is no \(shell): the syntax of its completions")
                    continue
                }
                _ = try await Self.output(found, ["-n"], input: script)
            }
        }

        /// What manifests, the image and the unit set is a setting, spelt as its variable.
        @Test func whatIsSetIsASetting() async throws {
            let help = try await Self.output(try Self.program("sluiced"), ["--help"])
            let folders = ["deploy/compose", "deploy/systemd", "deploy/kubernetes/base", "deploy/kubernetes/metrics"]
            let files =
                try folders.flatMap { folder in try Self.folder(folder).map { "\(folder)/\($0)" } }
                + ["scripts/package-image.sh"]
            var found: Set<String> = []
            // The first names the image in the compose file, the second where scripts find programs.
            let others: Set = ["SLUICE_IMAGE", "SLUICE_BIN", "SLUICE_"]
            for file in files {
                for match in try Self.text(file).matches(of: #/SLUICE_[A-Z_]*/#) where !others.contains(String(match.0))
                {
                    let flag = match.0.dropFirst("SLUICE_".count).lowercased().replacing("_", with: "-")
                    // The password has a variable and no flag, which every user of the machine could see.
                    #expect(flag == "redis-password" || help.contains("--\(flag)"), "\(file): \(match.0)")
                    found.insert(flag)
                }
            }
            #expect(found.count >= 10, "\(found)")
        }

        /// Kustomize reads no file outside of its folder, so the base has a copy of the policy.
        @Test func thePolicyOfTheManifestsIsTheExample() throws {
            let copy = try Self.text("deploy/kubernetes/base/policy.json")
            #expect(try copy == Self.text("deploy/examples/policy.json"))
        }

        /// `scripts/alerts` raises each alert, and takes its cause away.
        @Test func everyAlertHasADrill() throws {
            let alerts = try Self.text("deploy/prometheus/alerts.yml").matches(of: #/- alert: (\w+)/#).map(\.1)
            let causes = try Self.text("scripts/alerts-causes.sh")
            #expect(alerts.count > 10)
            for alert in alerts {
                for part in ["begin_\(alert)() {", "end_\(alert)() {", "[\(alert)]=\""] {
                    #expect(causes.contains(part), "\(part)")
                }
            }
            #expect(causes.matches(of: #/\nbegin_(\w+)/#).allSatisfy { alerts.contains($0.1) })
        }

        /// Wrong usage builds nothing.
        @Test func wrongUsageEndsWith64() async throws {
            for arguments in [["--programs"], ["--output"], ["--nonsense"]] {
                let run = try ChildProcess("\(Self.repository)/scripts/package", arguments)
                #expect(try await run.wait() == .exited(status: 64))
                #expect(run.errors.contains("see scripts/package --help"))
            }
            let folder = try TemporaryFolder()
            let run = try ChildProcess("\(Self.repository)/scripts/package", ["--programs", folder.path])
            #expect(try await run.wait() == .exited(status: 1))
            #expect(run.errors.contains("has no program sluiced"))
        }
    }
}
