/// A fault in a text that is read line by line, with its line number.
struct LineFault: Error, Sendable, Equatable, CustomStringConvertible {
    let line: Int
    let problem: String

    var description: String { "line \(line): \(problem)" }
}
