import Foundation
import Support
import Testing

extension Integration {
    /// The Python package in `deploy/python`: installed as users do it, its own tests, with the packages that it plugs into.
    ///
    /// What comes from PyPI stays in `.build/python` until `pyproject.toml` changes; the package itself is installed each time.
    @Suite struct PythonPackageTests {
        struct Environment: Sendable, CustomTestStringConvertible {
            var name: String
            var extras: String
            var tests: [String]

            var testDescription: String { name }
        }

        /// ContextForge needs another version of mcp than the others.
        static let environments = [
            Environment(name: "clients", extras: "fastmcp,mcp,litellm,asgi,test", tests: ["tests"]),
            Environment(
                name: "contextforge", extras: "contextforge,test",
                tests: ["tests/test_contextforge.py", "tests/test_readme.py"]),
        ]

        private static let package = "\(ShellSession.repository)/deploy/python"

        @Test(arguments: environments)
        func itsTestsPass(in environment: Environment) async throws {
            let folder = "\(ShellSession.repository)/.build/python/\(environment.name)"
            try await prepare(folder, extras: environment.extras)
            let copy = try TemporaryFolder()
            try FileManager.default.copyItem(atPath: Self.package, toPath: copy.path("package"))
            let options = ["--quiet", "--no-deps", "--no-build-isolation", "--force-reinstall"]
            try await run("\(folder)/bin/python", ["-m", "pip", "install"] + options + [copy.path("package")])
            let settings = ["-q", "-p", "no:cacheprovider", "-c", "\(Self.package)/pyproject.toml"]
            let process = try ChildProcess(
                "\(folder)/bin/python",
                ["-m", "pytest"] + settings + environment.tests.map { "\(Self.package)/\($0)" },
                environment: ["SLUICE_TEST_SLUICED": try SidecarProcess.program()])
            let ending = try await process.wait(timeout: .seconds(280))
            let lines = process.output.split(separator: "\n")
            #expect(ending == .exited(status: 0), "\(lines.suffix(60).joined(separator: "\n"))\(process.errors)")
            for line in lines.filter({ $0.hasPrefix("SKIPPED") }) + lines.suffix(1) {
                print("python, \(environment.name): \(line)")
            }
        }

        /// An environment with what the package depends on, unless it is there.
        private func prepare(_ folder: String, extras: String) async throws {
            let project = try String(contentsOfFile: "\(Self.package)/pyproject.toml", encoding: .utf8)
            let stamp = "\(folder)/pyproject.toml"
            if (try? String(contentsOfFile: stamp, encoding: .utf8)) == project { return }
            let version = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))"
            guard await succeeds("python3", ["-c", version]) else {
                return try skip("there is no Python 3.10 or newer with venv (Debian: python3-venv)")
            }
            try await run("python3", ["-m", "venv", "--clear", folder])
            let pip = ["-m", "pip", "--disable-pip-version-check", "--retries", "1", "--timeout", "10"]
            let python = "\(folder)/bin/python"
            // What can be had without PyPI being there is no failure of the package; everything after it is.
            let build = ["install", "--quiet", "setuptools>=77"]
            guard await succeeds(python, pip + build) else { return try skip("PyPI cannot be reached") }
            let copy = try TemporaryFolder()
            try FileManager.default.copyItem(atPath: Self.package, toPath: copy.path("package"))
            let options = ["install", "--quiet", "--no-compile", "--no-build-isolation"]
            try await run(python, pip + options + ["\(copy.path("package"))[\(extras)]"])
            try project.write(toFile: stamp, atomically: true, encoding: .utf8)
        }

        private func run(_ program: String, _ arguments: [String]) async throws {
            let process = try ChildProcess(program, arguments)
            let ending = try await process.wait(timeout: .seconds(280))
            try #require(ending == .exited(status: 0), "\(arguments): \(process.output)\(process.errors)")
        }

        private func succeeds(_ program: String, _ arguments: [String]) async -> Bool {
            guard let process = try? ChildProcess(program, arguments) else { return false }
            return (try? await process.wait(timeout: .seconds(60))) == .exited(status: 0)
        }

        private func skip(_ reason: String) throws {
            print("python: SKIPPED the tests of deploy/python: \(reason)")
            try Test.cancel("\(reason)")
        }
    }
}
