/// The faults to inject into the processes under load, and their times: one action a line, such as `at 10s stop redis`.
///
/// Empty lines and text after a `#` are ignored. Times count from the start of the measured part.
struct FaultScript: Sendable, Equatable {
    enum Victim: Sendable, Equatable {
        case redis
        /// Counted from 1.
        case sidecar(Int)
    }

    /// What is done to a process, by its word in a script.
    enum Verb: String, Sendable {
        /// Hangs it: it accepts connections and does not answer (SIGSTOP).
        case stop
        /// Ends a `stop` (SIGCONT).
        case `continue`
        /// Ends it at once, as a crash would (SIGKILL).
        case kill
        /// Starts it again without any state; ends it first if it still runs.
        case restart
    }

    enum Action: Sendable, Equatable {
        case act(Verb, Victim)
        /// Deletes all that Redis holds (FLUSHALL).
        case flush
        /// Makes sidecars read their policy again, from another file if one is named.
        case reloadPolicy(path: String?)
    }

    struct Step: Sendable, Equatable {
        var atNs: Int64
        var action: Action
    }

    /// By time; actions of the same time in the order of the script.
    let steps: [Step]

    init(steps: [Step] = []) {
        self.steps = steps.enumerated().sorted { ($0.element.atNs, $0.offset) < ($1.element.atNs, $1.offset) }
            .map(\.element)
    }

    /// - Parameter sidecars: how many there are.
    init(text: String, sidecars: Int) throws(LineFault) {
        var steps: [Step] = []
        for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            let words = line.prefix { $0 != "#" }.split(whereSeparator: \.isWhitespace).map(String.init)
            guard !words.isEmpty else { continue }
            steps.append(try Self.step(words, line: index + 1, sidecars: sidecars))
            guard steps.count <= LoadBounds.maxFaults else {
                throw LineFault(line: index + 1, problem: "there are more than \(LoadBounds.maxFaults) actions")
            }
        }
        self.init(steps: steps)
    }

    private static func step(_ words: [String], line: Int, sidecars: Int) throws(LineFault) -> Step {
        func fault(_ problem: String) -> LineFault { LineFault(line: line, problem: problem) }
        guard words.count >= 4, words[0] == "at", let atNs = try? OptionValue.time(words[1]) else {
            throw fault("'\(words.joined(separator: " "))' is no action, expected one such as 'at 10s stop redis'")
        }
        if words[2] == "flush" && words[3] == "redis" && words.count == 4 { return Step(atNs: atNs, action: .flush) }
        if words[2] == "reload" && words[3] == "policy" && words.count <= 5 {
            return Step(atNs: atNs, action: .reloadPolicy(path: words.count == 5 ? words[4] : nil))
        }
        let victim: Victim
        switch (words[3], words.count) {
        case ("redis", 4): victim = .redis
        case ("sidecar", 5):
            guard let number = Int(words[4]), (1...max(1, sidecars)).contains(number) else {
                throw fault("sidecar is '\(words[4])', expected 1 to \(sidecars)")
            }
            victim = .sidecar(number)
        default:
            throw fault(
                "'\(words.dropFirst(3).joined(separator: " "))' is nothing to act on, expected redis or sidecar N")
        }
        guard let verb = Verb(rawValue: words[2]) else {
            throw fault(
                "'\(words[2])' is no action, expected stop, continue, kill, restart, flush redis or reload policy")
        }
        return Step(atNs: atNs, action: .act(verb, victim))
    }
}

extension FaultScript.Victim: CustomStringConvertible {
    var description: String {
        switch self {
        case .redis: "redis"
        case .sidecar(let number): "sidecar \(number)"
        }
    }
}

extension FaultScript.Action: CustomStringConvertible {
    /// The form in a script.
    var description: String {
        switch self {
        case .act(let verb, let victim): "\(verb) \(victim)"
        case .flush: "flush redis"
        case .reloadPolicy(let path): "reload policy" + (path.map { " \($0)" } ?? "")
        }
    }
}
