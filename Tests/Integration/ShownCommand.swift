import Foundation
import Support

/// A command that a document shows, and what it says that is written then.
struct ShownCommand: Sendable, CustomStringConvertible {
    let document: String
    let text: String
    /// Empty where the document shows nothing of it.
    let output: [String]

    var description: String { "\(document): \(text)" }

    // MARK: - Reading documents

    /// The commands of the `console` blocks of a page: lines that begin with a prompt, `$` or, of root, `#`.
    static func inPage(_ text: String, document: String) -> [ShownCommand] {
        blocks("console", of: text).flatMap { commands(ofBlock: $0, document: document) }
    }

    /// The fenced blocks of a language, without their fences.
    static func blocks(_ language: String, of text: String) -> [[String]] {
        var blocks: [[String]] = []
        var isInside = false
        for line in text.components(separatedBy: "\n") {
            if isInside, line.hasPrefix("```") {
                isInside = false
            } else if line == "```\(language)" {
                isInside = true
                blocks.append([])
            } else if isInside {
                blocks[blocks.count - 1].append(line)
            }
        }
        return blocks
    }

    private static func commands(ofBlock lines: [String], document: String) -> [ShownCommand] {
        // What root types begins with #, where comments would otherwise.
        let prompt = lines.first?.hasPrefix("# ") == true ? "# " : "$ "
        var commands: [(text: String, output: [String])] = []
        for line in lines {
            if line.hasPrefix(prompt) {
                commands.append((String(line.dropFirst(2)), []))
            } else if !commands.isEmpty {
                commands[commands.count - 1].output.append(line)
            }
        }
        return commands.map { command in
            let output = command.output.reversed().drop { $0.isEmpty }.reversed()
            return ShownCommand(document: document, text: command.text, output: Array(output))
        }
    }

    /// The examples of a program's help: what stands below "Examples:" or behind "Example:", up to an empty line.
    static func inHelp(_ text: String, document: String) -> [ShownCommand] {
        var commands: [ShownCommand] = []
        var isInside = false
        for line in text.components(separatedBy: "\n") {
            let words = line.trimmingCharacters(in: .whitespaces)
            let heading = words.lowercased()
            if heading == "examples:" || heading == "example:" {
                isInside = true
            } else if heading.hasPrefix("example: ") {
                commands.append(
                    ShownCommand(document: document, text: String(words.dropFirst("Example: ".count)), output: []))
            } else if words.isEmpty {
                isInside = false
            } else if isInside {
                commands.append(ShownCommand(document: document, text: words, output: []))
            }
        }
        return commands
    }

    // MARK: - Comparing

    /// A line with all that may differ from run to run made alike: numbers, ids, and how wide a column is.
    static func shape(_ line: String) -> String {
        line.replacing(#/[0-9a-f]{32}/#, with: "<id>").replacing(#/[0-9][0-9,.]*/#, with: "N")
            .split(separator: #/\s+/#).joined(separator: " ")
    }
}

/// A shell on a terminal, in a folder of its own, that runs the commands of one document one after the other.
struct ShellSession {
    struct Result: Sendable {
        let command: ShownCommand
        let exitCode: Int32
        /// Without what servers in the background log.
        let output: [String]
    }

    /// Where the programs are that were built beside the tests.
    private static func programs() throws -> String {
        URL(fileURLWithPath: try SidecarProcess.program()).deletingLastPathComponent().path
    }

    /// The repository, of which documents name files.
    static let repository = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .appendingPathComponent("../..").standardized.path

    /// So long loads go on of which the example does not say.
    private static let loadSeconds = 3

    /// - Parameter files: what is there besides the repository's `deploy` and `scripts`.
    /// - Throws: with all that was written, if it does not come to its end.
    static func run(
        _ commands: [ShownCommand], files: [(name: String, text: String)] = [], preparation: String = ""
    ) async throws -> [Result] {
        let folder = try TemporaryFolder()
        for name in ["deploy", "scripts"] {
            try FileManager.default.createSymbolicLink(
                atPath: folder.path(name), withDestinationPath: "\(repository)/\(name)")
        }
        for file in files {
            let place = URL(fileURLWithPath: folder.path(file.name)).deletingLastPathComponent()
            try FileManager.default.createDirectory(at: place, withIntermediateDirectories: true)
            try folder.write(file.text, to: file.name)
        }
        let programs = try programs()
        var script = """
            cd \(folder.path)
            export PATH="\(programs):$PATH" SLUICE_BIN="\(programs)" NO_COLOR=1 TERM=dumb
            trap 'for job in $(jobs -p); do kill "$job"; done; wait' EXIT
            sluice-load() {
                if [[ " $* " =~ " "--(duration|ramp|trace|find-rate|help)" " ]]; then command sluice-load "$@"; return; fi
                command sluice-load "$@" --duration \(loadSeconds)s
            }
            \(preparation)

            """
        for (index, command) in commands.enumerated() {
            let path = try folder.write(command.text + "\n", to: "command-\(index)")
            script += "printf '\\n\\001begin\\n'; . \(path); code=$?; \(readiness(of: command)); "
            script += "printf '\\n\\001end %d\\n' $code\n"
        }
        let path = try folder.write(script, to: "session")
        let shell = try ChildProcess("script", ["--quiet", "--command", "bash \(path)", "/dev/null"])
        _ = try await shell.wait(timeout: .seconds(150))
        // By scalars: for Swift a line end of two bytes is one character.
        let text = String(String.UnicodeScalarView(shell.output.unicodeScalars.filter { $0 != "\r" }))
        let parts = text.components(separatedBy: "\u{1}begin\n").dropFirst()
        guard parts.count == commands.count else {
            throw SupportError("only \(parts.count) of \(commands.count) commands were run\n\(text)\(shell.errors)")
        }
        return try zip(commands, parts).map { command, part in
            let halves = part.components(separatedBy: "\u{1}end ")
            guard halves.count == 2, let code = halves[1].split(separator: "\n").first.flatMap({ Int32($0) }) else {
                throw SupportError("\(command) did not end\n\(part)")
            }
            let lines = halves[0].components(separatedBy: "\n").filter { !isLogged($0) }
            let visible = lines.drop { $0.isEmpty }.reversed().drop { $0.isEmpty }.reversed()
            return Result(command: command, exitCode: code, output: Array(visible))
        }
    }

    /// A person goes on when a server that was started in the background says that it is ready.
    private static func readiness(of command: ShownCommand) -> String {
        let words = command.text.split(separator: " ")
        guard words.last == "&", let option = words.firstIndex(of: "--socket") else { return ":" }
        return "for ((tries = 0; tries < 600; tries++)); do [[ -S \(words[option + 1]) ]] && break; sleep 0.05; done"
    }

    /// `2026-03-01T12:00:00+0000 info sluiced: ...`
    private static func isLogged(_ line: String) -> Bool {
        line.firstMatch(of: #/^[0-9]{4}-[0-9]{2}-[0-9]{2}T[^ ]+ [a-z]+ sluiced/#) != nil
    }
}
