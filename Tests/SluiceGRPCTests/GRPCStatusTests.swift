import SluiceGRPC
import Testing

@Suite struct GRPCStatusTests {
    @Test(arguments: [
        ("send fewer", "send fewer"), ("50 % more", "50 %25 more"), ("ä\n", "%C3%A4%0A"), ("~ ", "~ "), ("", ""),
        ("\u{7F}", "%7F"),
    ])
    func aMessageIsPercentEncoded(message: String, encoded: String) {
        #expect(GRPCStatus(.internalError, message).encodedMessage == encoded)
    }

    @Test func aMessageHasABound() {
        let status = GRPCStatus(.internalError, String(repeating: "x", count: 10_000))
        #expect(status.encodedMessage.utf8.count == GRPCBounds.maxStatusMessageBytes)
    }

    @Test(arguments: [
        ("250m", 250_000_000), ("1S", 1_000_000_000), ("2M", 120_000_000_000), ("1H", 3_600_000_000_000),
        ("7u", 7_000), ("9n", 9), ("0n", 0), ("99999999n", 99_999_999), ("99999999H", Int64.max),
    ])
    func aTimeoutIsRead(text: String, nanoseconds: Int64) {
        #expect(GRPCTimeout.nanoseconds(text) == nanoseconds)
    }

    @Test(arguments: ["", "m", "1", "1x", "-1m", "1.5S", "123456789m", " 1m", "1m ", "٣m"])
    func whatIsNoTimeoutIsNot(text: String) {
        #expect(GRPCTimeout.nanoseconds(text) == nil)
    }
}
