/// One thing that a reload would change.
package struct PolicyChange: Sendable, Equatable {
    /// The part that it belongs to; changes of one part are adjacent.
    package enum Place: Sendable, Hashable {
        /// Whether there is one policy or documents by grant.
        case policies
        /// Which documents there are.
        case documents
        /// Which grant has which document.
        case grants
        /// The action for unlisted tools.
        case byDefault
        /// That every tool is hidden.
        case everyTool
        /// Limits over every call of the grant.
        case allTools
        case tool(String)
        case group(String)
        /// Whether a server has rules of its own.
        case server(String)
    }

    package enum Kind: String, Sendable { case added, removed, changed }

    /// What happens to the counter of a limit that changes.
    package struct Counter: Sendable, Equatable {
        package enum Fate: String, Sendable {
            /// It starts at 0.
            case begins
            /// It keeps its count.
            case goesOn = "goes_on"
            case ends
        }

        package let name: String
        package let fate: Fate
    }

    /// The document's name without `.json`, if there are several.
    package let document: String?
    /// The server, if it belongs to the rules of one.
    package let server: String?
    package let place: Place
    package let kind: Kind
    /// The change on one line, without its place: `limit c: max 10 -> 20, keeps its count`.
    package let words: String
    package let counter: Counter?

    init(
        _ place: Place, _ kind: Kind, _ words: String, document: String? = nil, server: String? = nil,
        counter: Counter? = nil
    ) {
        self.document = document
        self.server = server
        self.place = place
        self.kind = kind
        self.words = words
        self.counter = counter
    }

    /// The place, as a heading above its changes: `tool run`, or `team-a: tool run` if there are several documents.
    package var heading: String {
        let server = server.map { "server \($0.onOneLine): " } ?? ""
        return (document.map { "\($0.onOneLine): " } ?? "") + server + place.title
    }

    /// The change on one line with its place.
    package var line: String {
        switch place {
        // The changed part has a name of its own.
        case .documents, .grants: words
        case .policies, .byDefault, .everyTool, .allTools, .tool, .group, .server: "\(heading): \(words)"
        }
    }
}

extension PolicyChange.Place {
    fileprivate var title: String {
        switch self {
        case .policies: "policies"
        case .documents: "documents"
        case .grants: "grants"
        case .byDefault: "default"
        case .everyTool: "every tool"
        case .allTools: "all tools"
        case .tool(let name): "tool \(name.onOneLine)"
        case .group(let name): "group \(name.onOneLine)"
        case .server(let name): "server \(name.onOneLine)"
        }
    }
}
