import NIOCore
import SluicePolicy
import SluiceProtocol

/// A question that `POLICY` asks about the policies in force.
enum PolicyQuestion: Equatable {
    /// `SHOW [grant]`: tables of all policies, or of one grant's document.
    case show(grant: String?)
    /// `SOURCE`: the path that they were read from.
    case source
    /// `DOCUMENTS`: equivalent documents, for comparison with files.
    case documents

    /// The arguments of `POLICY`, for an error message.
    static let expected = "SHOW [grant], SOURCE or DOCUMENTS"

    /// - Parameter words: those after `POLICY`. - Returns: `nil` for other words.
    init?(_ words: [String]) {
        switch (words.first?.uppercased(), words.count) {
        case ("SHOW", 1): self = .show(grant: nil)
        case ("SHOW", 2): self = .show(grant: words[1])
        case ("SOURCE", 1): self = .source
        case ("DOCUMENTS", 1): self = .documents
        default: return nil
        }
    }

    /// Thousands of tools take many milliseconds: must not run where checks are answered. - Parameter source: where the
    /// policies came from.
    func answer(_ policies: PolicySet, source: String) -> PolicyAnswer {
        switch self {
        case .source: .text(source + "\n")
        case .documents: .documents(source: source, isSingle: policies.single != nil, files: policies.files)
        case .show(nil): .text(PolicySetSummary(policies, file: source).render())
        case .show(let grant?): .text(Self.show(grant, policies, source: source))
        }
    }

    private static func show(_ grant: String, _ policies: PolicySet, source: String) -> String {
        guard let policy = policies.policy(forGrant: grant) else {
            return "\(grant.onOneLine): no policy, so no tool is allowed\n"
        }
        let name = policies.documentName(forGrant: grant).map { "\(source)/\($0).json" }
        return PolicySummary(policy, file: name ?? source).render()
    }
}

enum PolicyAnswer {
    case text(String)
    case documents(source: String, isSingle: Bool, files: [(name: String, text: String)])

    /// Text; or a map of `source`, `single` (whether there is one document, for all grants) and `files`, a map from
    /// files' names to their text.
    func write(_ writer: ReplyWriter, to output: inout ByteBuffer) {
        switch self {
        case .text(let text):
            writer.writeText(text, to: &output)
        case .documents(let source, let isSingle, let files):
            writer.writeMapHeader(3, to: &output)
            writer.writeBulkString("source", to: &output)
            writer.writeBulkString(source, to: &output)
            writer.writeBulkString("single", to: &output)
            writer.writeInteger(isSingle ? 1 : 0, to: &output)
            writer.writeBulkString("files", to: &output)
            writer.writeMapHeader(files.count, to: &output)
            for file in files {
                writer.writeBulkString(file.name, to: &output)
                writer.writeBulkString(file.text, to: &output)
            }
        }
    }
}
