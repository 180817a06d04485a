import ArgumentParser
import SluicePolicy
import SluiceTerminal

/// Why documents were not accepted: their faults, and the files that cannot be read.
struct DocumentFailure: Error {
    var faults: [PolicyFaults] = []
    var unreadable: [ControlFailure] = []
    let exitCode: ExitCode

    /// For standard error: each fault on a line of its own in the form of compilers.
    func show(_ console: Console) {
        for document in faults { console.writeError("\(document)\n") }
        for failure in unreadable {
            console.writeError(console.errorStyle.apply(.bad, to: "sluicectl:") + " \(failure.line)\n")
        }
    }

    // MARK: - For programs

    /// An error in the common form, with the faults.
    var json: JSONText {
        guard !faults.isEmpty else { return (unreadable.first ?? ControlFailure("", exitCode: exitCode)).json }
        let count = faults.reduce(0) { $0 + $1.faults.count + $1.omitted }
        let lines = ["\(count) \(count == 1 ? "fault" : "faults")"] + unreadable.map(\.line)
        return [
            "error": [
                "kind": .string("faults"), "message": .string(lines.joined(separator: "; ")),
                "exit_code": .integer(exitCode.rawValue), "faults": .array(faultList),
                "omitted_faults": .integer(omitted),
            ]
        ]
    }

    var faultList: [JSONText] { faults.flatMap(\.faults).map(Self.json) }

    /// How many faults were found beyond the most that are reported of one document.
    var omitted: Int { faults.reduce(0) { $0 + $1.omitted } }

    private static func json(_ fault: PolicyFault) -> JSONText {
        let (found, expected, nearest): (String?, String?, String?)
        switch fault.problem {
        case .unexpected(let what, let wanted, let near): (found, expected, nearest) = (what, wanted, near)
        case .notSupportedYet(let what, _): (found, expected, nearest) = (what, nil, nil)
        }
        return [
            "file": .string(fault.file), "line": .integer(fault.line),
            "column": .integer(fault.column), "pointer": .string(fault.pointer), "found": .text(found),
            "expected": .text(expected), "nearest": .text(nearest), "message": .string(fault.description),
        ]
    }
}

extension DocumentFailure {
    /// Several failures as one, with the exit code of the first.
    init?(_ failures: [DocumentFailure]) {
        guard let first = failures.first else { return nil }
        self.init(
            faults: failures.flatMap(\.faults), unreadable: failures.flatMap(\.unreadable), exitCode: first.exitCode)
    }
}
