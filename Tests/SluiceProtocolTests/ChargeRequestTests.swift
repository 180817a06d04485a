import NIOCore
import Testing

@testable import SluiceProtocol

@Suite struct ChargeRequestTests {
    private func request(_ words: String...) throws -> Request { try request(words) }

    private func request(_ words: [String]) throws -> Request {
        try parsed(frame(words.map { Array($0.utf8) })).request
    }

    @Test func whatACallCost() throws {
        let words = ["charge", "g", "t", "12", "session", "s", "ID", "x", "ATTR", "a", "b"]
        guard case .charge(let charge) = try request(words) else { throw NoFrame() }
        #expect(charge.cost == 12 && charge.approved && charge.session != nil && charge.id != nil)
        #expect(charge.attributes.count == 1 && charge.server == nil && !charge.reserve && !charge.isPeek)
        guard case .refund(let refund) = try request("REFUND", "g", "t", "1000000000000", "SERVER", "s") else {
            throw NoFrame()
        }
        #expect(refund.cost == 1_000_000_000_000 && refund.server != nil && refund.id == nil)
    }

    /// Nothing is charged: it asks whether anything is left.
    @Test(arguments: ["CHARGE", "REFUND"]) func nothing(_ command: String) throws {
        guard case .check(let look) = try request(command, "g", "t", "0", "ID", "x") else { throw NoFrame() }
        #expect(look.cost == 0 && look.id == nil && look.approved)
    }

    @Test(
        arguments: [
            (
                ["CHARGE", "g", "t"],
                "ERR wrong number of arguments for 'charge' command, send CHARGE <grant> <tool> <n>"
            ),
            (["CHARGE", "g", "t", "-1"], "BADARG the cost is '-1', send a whole number from 0 to 1000000000000"),
            (["REFUND", "g", "t", "1", "COST", "2"], "BADARG unknown option 'COST', send SERVER, SESSION, ATTR or ID"),
            (
                ["REFUND", "g", "t", "1", "RESERVE"],
                "BADARG unknown option 'RESERVE', send SERVER, SESSION, ATTR or ID"
            ),
            (["REFUND", "g", "t", "1", "ID"], "BADARG ID has no value, send ID key"),
            (["REFUND", "", "t", "1"], "BADARG the grant is empty, send 1 to 256 bytes"),
        ] as [([String], String)])
    func wrong(arguments: [String], error: String) throws {
        let thrown = #expect(throws: RequestError.self) { _ = try request(arguments) }
        let text = try #require(thrown)
        #expect("\(text.code.rawValue) \(text.sentence)".hasPrefix(error))
    }
}
