/// A fault in a text that is read line by line, with its line number.
package struct LineFault: Error, Sendable, Equatable, CustomStringConvertible {
    package let line: Int
    package let problem: String

    package init(line: Int, problem: String) {
        self.line = line
        self.problem = problem
    }

    package var description: String { "line \(line): \(problem)" }
}
