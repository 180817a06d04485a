import StoreModel
import Testing

@testable import SluiceEngine

@Suite struct IdentityTests {
    private func identity(_ grant: String, _ tool: String, _ session: String? = nil, approved: Bool = false) -> Identity
    {
        var identity = Identity()
        identity.fill(grant: grant.utf8Span.span, tool: tool.utf8Span.span, approved: approved)
        if let session { identity.append(session: session.utf8Span.span) }
        return identity
    }

    @Test func partsComeBack() {
        #expect(Identity().isEmpty)
        let whole = identity("alice-laptop", "opencode_run", "s1", approved: true)
        #expect(!whole.isEmpty)
        #expect(
            whole.parts
                == Identity.Parts(
                    grant: Array("alice-laptop".utf8), tool: "opencode_run", approved: true, session: Array("s1".utf8)))
        #expect(identity("", "", "").parts == Identity.Parts(grant: [], tool: "", approved: false, session: []))
        #expect(identity("g", "t").parts.session == nil)
    }

    @Test func longNamesComeBack() {
        let long = String(repeating: "é", count: 128)
        let parts = identity(long, long + long, long).parts
        #expect(parts.grant == Array(long.utf8) && parts.tool == long + long && parts.session == Array(long.utf8))
    }

    @Test func differentChecksDiffer() {
        let all = [
            identity("a", "bc"), identity("ab", "c"), identity("a", "b", "c"), identity("", "abc"),
            identity("abc", ""), identity("a", "bc", approved: true), identity("a", "bc", ""),
            identity("a", "b\u{0}\u{1}c"),
        ]
        #expect(Set(all.map(\.key)).count == all.count)
    }

    @Test func refillingForgetsWhatWasThere() {
        var identity = identity("grant", "tool", "session", approved: true)
        identity.fill(grant: "g".utf8Span.span, tool: "t".utf8Span.span, approved: false)
        #expect(identity.key == self.identity("g", "t").key)
    }

    @Test func randomNamesComeBack() {
        var random = SeededRandom(seed: 1)
        var seen: [ByteString: Identity.Parts] = [:]
        for _ in 0..<5_000 {
            let names = (0..<3).map { _ in
                String(
                    (0..<Int.random(in: 0...3, using: &random)).map { _ in
                        "ab\u{0}\u{1}é".randomElement(using: &random) ?? "a"
                    })
            }
            let hasSession = Bool.random(using: &random)
            let approved = Bool.random(using: &random)
            let made = identity(names[0], names[1], hasSession ? names[2] : nil, approved: approved)
            let parts = Identity.Parts(
                grant: Array(names[0].utf8), tool: names[1], approved: approved,
                session: hasSession ? Array(names[2].utf8) : nil)
            expectQuickly(made.parts == parts, "\(parts) came back as \(made.parts)")
            let other = seen.updateValue(parts, forKey: made.key) ?? parts
            expectQuickly(other == parts, "\(other) and \(parts) are alike")
        }
    }
}
